"""Records to bytes: one JSON fragment per record, made valid where the values are not."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from typing import Any, TypeAlias

import orjson

from ._mapping import MappingOptions, TraceMemory, named_group, to_item
from ._record import Record

Redactor: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

_logger = logging.getLogger(__package__)

_MAX_DEPTH = 64
_MAX_INTEGER = 2**64  # orjson's own limit; beyond it, and below -2**63, integers become text
_SMALL_BODY_BYTES = 256 * 1024
_CHUNK_BYTES = 64 * 1024
_OPEN, _CLOSE = b'{"items":[', b"]}"
_NUL = b"\\u0000"
ENVELOPE_BYTES = len(_OPEN) + len(_CLOSE)
_CONTENT = ("input", "output", "metadata", "expected")


class EncodeError(ValueError):
    """The record cannot be sent, whatever is done to it."""


class Encoder:
    """Maps and encodes records. Any number of threads may use one.

    It remembers, within bounds, what spans of one trace tell about each other (see `TraceMemory`).
    """

    def __init__(self, options: MappingOptions | None = None, redact: Redactor | None = None) -> None:
        self._options = options or MappingOptions()
        self._redact = redact
        self._memory = TraceMemory()
        self._redactions_failed = 0
        self.redacts = redact is not None

    def seal(self, record: Record) -> None:
        """Turn `record` into its encoded item. Raises EncodeError when that cannot be done."""
        try:
            item = to_item(record, self._options, self._memory, record.ancestor)
            if self._redact is not None:
                item = self._redacted(item, self._redact)
            record.seal(bytes(memoryview(_encode(item))))  # a copy that fits: the encoder's buffer is larger
        except Exception as error:
            raise EncodeError(f"{type(error).__name__}: {error}"[:300]) from error

    def group_of(self, trace_id: int, known: str | None = None) -> str | None:
        """The group that spans of the trace inherit; `known` if it has none yet."""
        return self._memory.inherit_group(trace_id, self._memory.inherit_group(trace_id, None) or known)

    def foresee(self, records: Iterable[Record]) -> None:
        """ENDs that come together and without their STARTs: spans inherit a group from those that started before."""
        for record in sorted(records, key=lambda record: record.start_ns):
            with suppress(Exception):  # what cannot be mapped is found out where it is
                group_id = named_group(record, self._memory)
                if group_id is not None:
                    self._memory.inherit_group(record.key[0], group_id)

    def _redacted(self, item: dict[str, Any], redact: Redactor) -> dict[str, Any]:
        """What the user's redactor makes of `item`; without its content when the redactor fails."""
        try:
            redacted = redact(orjson.loads(_encode(item)))  # a copy to change at will: the span's values are not ours
            if not isinstance(redacted, dict):
                raise TypeError(f"redact returned {type(redacted).__name__}, not a dict")
            return redacted
        except Exception as error:
            self._redactions_failed += 1
            if str(self._redactions_failed).strip("0") == "1":  # 1, 10, 100, ...
                why = type(error).__name__  # its text may hold what was to be redacted
                _logger.error("redact failed for %d items so far (%s): sent bare", self._redactions_failed, why)
            kept = {key: value for key, value in item.items() if key not in _CONTENT}
            return {**kept, "metadata": {"redaction_failed": type(error).__name__}}


def _encode(item: Mapping[str, Any]) -> bytes:
    try:
        fragment = orjson.dumps(item)
    except (TypeError, ValueError, RecursionError):
        return orjson.dumps(sanitised(item))
    # One store keeps a NUL and another refuses it, so it goes; an escaped backslash before it is a rare false alarm.
    # From the right, since bytes are searched three times as fast in that direction.
    return orjson.dumps(sanitised(item)) if fragment.rfind(_NUL) >= 0 else fragment


def sanitised(value: Any, _above: tuple[int, ...] = ()) -> Any:
    """`value` as JSON can hold it: the nearest readable text for what JSON has no word for.

    NaN and infinities are null, bytes UTF-8 text or base64, integers beyond 64 bits text, lone surrogates U+FFFD,
    NUL nothing, and anything unknown its `str`. What contains itself, or is too deep, ends in a marker.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < _MAX_INTEGER else str(value)
    if isinstance(value, float):
        return float(value) if value - value == 0 else None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value))
    if isinstance(value, (Mapping, Sequence, Set)):
        return _container(value, _above)
    return _text(_described(value))


def _container(value: Any, above: tuple[int, ...]) -> Any:
    if id(value) in above:
        return "[circular]"
    if len(above) >= _MAX_DEPTH:
        return "[too deep]"
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return {_text(_described(key)): sanitised(item, above) for key, item in value.items()}
    return [sanitised(item, above) for item in value]


def _text(value: str) -> str:
    return value.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _bytes(value: bytes) -> str:
    try:
        return _text(value.decode())
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _described(value: Any) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def body_bytes(fragments: Sequence[bytes]) -> int:
    """Bytes of the request body that carries `fragments`."""
    return ENVELOPE_BYTES + sum(map(len, fragments)) + max(len(fragments) - 1, 0)


def body_chunks(fragments: Sequence[bytes]) -> Iterator[bytes]:
    """The request body: a large one in pieces of about 64 KiB, so that it is not copied whole."""
    if body_bytes(fragments) <= _SMALL_BODY_BYTES:
        yield b"".join((_OPEN, b",".join(fragments), _CLOSE))
        return
    chunk, size, separator = [_OPEN], 0, b""
    for fragment in fragments:
        chunk += (separator, fragment)
        size += len(fragment)
        separator = b","
        if size >= _CHUNK_BYTES:
            yield b"".join(chunk)
            chunk, size = [], 0
    yield b"".join((*chunk, _CLOSE))


def packed(records: Sequence[Record], max_bytes: int) -> Iterator[Sequence[Record]]:
    """Sealed records in order, in requests of at most `max_bytes`; one that is larger alone goes alone."""
    sizes = [len(record.fragment or b"") + 1 for record in records]
    if records and ENVELOPE_BYTES + sum(sizes) <= max_bytes:
        yield records
        return
    request: list[Record] = []
    size = ENVELOPE_BYTES
    for record, needed in zip(records, sizes, strict=True):
        if request and size + needed > max_bytes:
            yield request
            request, size = [], ENVELOPE_BYTES
        request.append(record)
        size += needed
    if request:
        yield request
