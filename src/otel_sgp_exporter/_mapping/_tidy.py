"""Payloads made fit to send: LangChain's dumps as messages, blobs and vectors elided, long texts cut in the middle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from otel_sgp_exporter._mapping._messages import langchain_message, to_messages

# A 50 KB prompt stays whole; three fields at their limit still fit into one 4 MiB request.
MAX_TEXT_CHARACTERS = 250_000
MAX_FIELD_CHARACTERS = 1_000_000
_MAX_NODES = 50_000
_MAX_DEPTH = 40
_MIN_VECTOR_NUMBERS = 128
_MIN_BASE64_CHARACTERS = 1_024
_MAX_BYTES = 4_096

_PLAIN = frozenset({int, float, bool, type(None)})
_DATA_URL = re.compile(r"data:([\w.+/-]+)[;,]")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{1024,}={0,2}\s*")


class Tidy:
    """The budget of one field. `cut` tells whether anything had to be left out for its size."""

    __slots__ = ("_characters", "_nodes", "cut")

    def __init__(self) -> None:
        self._characters = MAX_FIELD_CHARACTERS
        self._nodes = _MAX_NODES
        self.cut = False

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """The value with everything that is too large, or not for reading, replaced by its size."""
        kind = type(value)
        if kind is str:
            return self._text(value)
        if kind in _PLAIN:
            return value
        self._nodes -= 1
        if self._nodes < 0 or depth > _MAX_DEPTH:
            self.cut = True
            return None
        if isinstance(value, Mapping):
            return self._mapping(value, depth + 1)
        if isinstance(value, (list, tuple)):
            return self._list(value, depth + 1)
        if isinstance(value, bytes) and len(value) > _MAX_BYTES:
            return {"bytes_elided": len(value)}
        return value

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> Any:
        if ("lc" in value or "data" in value or "parts" in value or "additional_kwargs" in value) and (
            found := _as_messages(value)
        ):
            return self(found, depth)
        if "lc" in value and isinstance(value.get("kwargs"), Mapping):
            value = value["kwargs"]
        blob = _is_blob(value)
        tidied: dict[Any, Any] = {}
        for key, item in value.items():
            if blob and key in ("content", "data") and isinstance(item, (str, bytes)):
                tidied["bytes_elided"] = len(item)
            else:
                tidied[key] = self(item, depth)
        return tidied

    def _list(self, value: list[Any] | tuple[Any, ...], depth: int) -> Any:
        if len(value) >= _MIN_VECTOR_NUMBERS and float in (types := {*map(type, value)}) and types <= {float, int}:
            return {"type": "vector", "length": len(value), "bytes_elided": 8 * len(value)}
        return [self(item, depth) for item in value]

    def _text(self, value: str) -> Any:
        if value.startswith("data:") and (url := _DATA_URL.match(value)):
            return {"mime_type": url[1], "bytes_elided": len(value) - url.end()}
        length = len(value)
        if length >= _MIN_BASE64_CHARACTERS and _BASE64.fullmatch(value):
            return {"bytes_elided": length}
        allowed = min(MAX_TEXT_CHARACTERS, max(self._characters, 0))
        self._characters -= length
        if length <= allowed:
            return value
        self.cut = True
        half = allowed // 2
        return f"{value[:half]}\n[... {length - 2 * half} characters left out ...]\n{value[length - half :]}"


def _is_blob(value: Mapping[Any, Any]) -> bool:
    mime_type = value.get("mime_type") or value.get("media_type")
    return value.get("type") == "blob" or (isinstance(mime_type, str) and not mime_type.startswith("text/"))


def _as_messages(value: Mapping[Any, Any]) -> Any:
    if "parts" not in value and "additional_kwargs" not in value and langchain_message(value) is None:
        return None
    found = to_messages(value)
    return found[0] if found and len(found) == 1 else found
