"""Encoded items made acceptable after the fact: shorter, without a parent, or closed for a span that never ended."""

from __future__ import annotations

from typing import Any

import orjson

from ._mapping import timestamp

_MIN_TEXT = 32
_CONTENT = ("input", "output", "expected")
_LONG_TEXT = 1024 * 1024


def without_parent(fragment: bytes) -> bytes | None:
    """The item as a root, its parent's id kept in the metadata; None when it has no parent."""
    item = orjson.loads(fragment)
    parent_id = item.pop("parent_id", None)
    if parent_id is None:
        return None
    _metadata(item)["refused_parent_id"] = parent_id
    return orjson.dumps(item)


def cancelled(fragment: bytes, end_ns: int, why: str) -> bytes:
    """The END of a span whose START is `fragment` and which nobody ended."""
    item = orjson.loads(fragment)
    item["end_timestamp"] = max(timestamp(end_ns), str(item.get("start_timestamp", "")))
    item["status"] = "CANCELED"
    _metadata(item)["canceled_reason"] = why
    return orjson.dumps(item)


def shortened(fragment: bytes, max_bytes: int) -> bytes:
    """The item in at most `max_bytes`, if it can be: its longest texts cut, each with a marker that says by how much.

    When cutting texts is not enough, input, output and attributes go, and the metadata says so; what is left then
    (ids, times, type, status) may still be larger than a very small `max_bytes`.
    """
    item = orjson.loads(fragment)
    limit = min(_LONG_TEXT, max_bytes)
    while limit >= _MIN_TEXT:
        cut = _cut(item, limit)
        _metadata(cut)["truncated_from_bytes"] = len(fragment)
        shorter = orjson.dumps(cut)
        if len(shorter) <= max_bytes:
            return shorter
        limit //= 2
    return _stub(item, len(fragment))


def _metadata(item: dict[str, Any]) -> dict[str, Any]:
    """The item's own, to write into; a redactor may have left anything in its place."""
    if not isinstance(item.get("metadata"), dict):
        item["metadata"] = {}
    metadata: dict[str, Any] = item["metadata"]
    return metadata


def _cut(value: Any, limit: int) -> Any:
    if isinstance(value, str) and len(value) > limit:
        return f"{value[:limit]}… [{len(value) - limit} characters cut]"
    if isinstance(value, dict):
        return {key: _cut(item, limit) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item, limit) for item in value]
    return value


def _stub(item: dict[str, Any], size: int) -> bytes:
    kept = {key: _cut(value, _MIN_TEXT * 8) for key, value in item.items() if key not in _CONTENT}
    metadata = _metadata(item).items()
    scalars = {key: _cut(value, _MIN_TEXT) for key, value in metadata if not isinstance(value, (dict, list))}
    return orjson.dumps({**kept, "metadata": {**scalars, "content_left_out_bytes": size}})
