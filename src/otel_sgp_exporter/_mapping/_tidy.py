"""Payloads made fit to send: LangChain's dumps as messages, blobs and vectors elided, long texts cut in the middle."""

from __future__ import annotations

import re
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

from otel_sgp_exporter._mapping._messages import langchain_message, to_messages

# Three fields at their limit still fit into one 4 MiB request.
MAX_TEXT_CHARACTERS = 1_000_000
MAX_FIELD_CHARACTERS = 1_000_000
_MAX_NODES = 100_000
_MAX_DEPTH = 64
_MIN_VECTOR_NUMBERS = 128
_MIN_BASE64_CHARACTERS = 1_024
_MIN_SHARE = 0.05
"""Of upper case, of lower case and of digits in base64: random bytes have 0.41, 0.41 and 0.16."""
_TINY = 64
"""Characters: a text below it is not worth a look; only the number of values bounds those."""
_SHORT = 400
"""Characters of every text that stay when the field is full, as long as it is not twice as full as it may be."""
_MAX_BYTES = 4_096

_PLAIN = frozenset({int, float, bool, type(None)})
_SPECIAL_KEYS = frozenset({"lc", "data", "additional_kwargs", "mime_type", "media_type"})
_KINDS_OF_DIGITS = (ascii_uppercase.encode(), ascii_lowercase.encode(), digits.encode())
_BLOB_KEYS = ("content", "data")
_DATA_URL = re.compile(r"data:(\w+/[\w.+-]+)[;,]")
_BASE64 = re.compile(r"([A-Za-z0-9+/_-]{1024,})={0,2}\s*")


class Tidy:
    """The budget of one field. `cut` tells whether anything had to be left out for its size."""

    __slots__ = ("_characters", "_longest", "_nodes", "cut")

    def __init__(self, max_text_characters: int = MAX_TEXT_CHARACTERS) -> None:
        self._characters = MAX_FIELD_CHARACTERS
        self._longest = max_text_characters
        self._nodes = _MAX_NODES
        self.cut = False

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """The value with everything that is too large, or not for reading, replaced by its size."""
        if isinstance(value, str):
            return value if len(value) < _TINY else self._text(value)
        if isinstance(value, dict):
            return self._mapping(value, depth)
        if isinstance(value, (list, tuple)):
            return self._list(value, depth)
        if isinstance(value, bytes) and len(value) > _MAX_BYTES:
            return {"bytes_elided": len(value)}
        return value

    def _has_room(self, nodes: int, depth: int) -> bool:
        self._nodes -= nodes
        if self._nodes >= 0 and depth <= _MAX_DEPTH:
            return True
        self.cut = True
        return False

    # The two comprehensions decide about leaves as `__call__` does: they run for every value of every payload.
    def _mapping(self, value: dict[Any, Any], depth: int) -> Any:
        if not self._has_room(len(value), depth):
            return {"items_elided": len(value)}
        depth += 1
        if not _SPECIAL_KEYS.isdisjoint(value):
            value = _without_blob(_from_langchain(value))
        return {
            key: item if (kind := type(item)) in _PLAIN or (kind is str and len(item) < _TINY) else self(item, depth)
            for key, item in value.items()
        }

    def _list(self, value: list[Any] | tuple[Any, ...], depth: int) -> Any:
        if not self._has_room(len(value), depth):
            return {"items_elided": len(value)}
        depth += 1
        if len(value) >= _MIN_VECTOR_NUMBERS and float in (types := {*map(type, value)}) and types <= {float, int}:
            return {"type": "vector", "length": len(value), "bytes_elided": 8 * len(value)}
        return [
            item if (kind := type(item)) in _PLAIN or (kind is str and len(item) < _TINY) else self(item, depth)
            for item in value
        ]

    def _text(self, value: str) -> Any:
        length = len(value)
        if value.startswith("data:") and (url := _DATA_URL.match(value)):
            return {"mime_type": url[1], "bytes_elided": length - url.end()}
        if length >= _MIN_BASE64_CHARACTERS and _is_base64(value):
            return {"bytes_elided": length}
        if length <= self._characters and length <= self._longest:
            self._characters -= length
            return value
        least = _SHORT if self._characters > -MAX_FIELD_CHARACTERS else 0
        most = min(self._longest, max(self._characters, least))
        if length <= most:
            self._characters -= length
            return value
        self.cut = True
        half = most // 2
        self._characters -= 2 * half
        return f"{value[:half]}\n[... {length - 2 * half} characters left out ...]\n{value[length - half :]}"


def _is_base64(value: str) -> bool:
    """True for the base64 of bytes: long words, hex and repeated letters have its letters, but not its mixture."""
    found = _BASE64.fullmatch(value)
    if found is None or len(found[1]) % 4 == 1:
        return False
    data = found[1].encode()
    return all(len(data) - len(data.translate(None, kind)) >= _MIN_SHARE * len(data) for kind in _KINDS_OF_DIGITS)


def _without_blob(value: dict[Any, Any]) -> dict[Any, Any]:
    mime_type = value.get("mime_type") or value.get("media_type")
    if value.get("type") != "blob" and (not isinstance(mime_type, str) or mime_type.startswith("text/")):
        return value
    blobs = {key: len(value[key]) for key in _BLOB_KEYS if isinstance(value.get(key), (str, bytes))}
    rest = {key: item for key, item in value.items() if key not in blobs}
    return {**rest, "bytes_elided": sum(blobs.values())} if blobs else value


def _from_langchain(value: dict[Any, Any]) -> dict[Any, Any]:
    """The message, or the fields of any other object, that LangChain serialised."""
    if "additional_kwargs" in value or langchain_message(value):
        found = to_messages(value)
        return found[0] if found and len(found) == 1 else value
    fields = value.get("kwargs")
    return fields if "lc" in value and isinstance(fields, dict) else value
