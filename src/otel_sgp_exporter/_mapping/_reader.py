"""One span's attributes, read the same way by every convention: presence, lenient JSON, flattened lists."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, NamedTuple, TypeVar

import orjson

from otel_sgp_exporter._mapping._layout import Families, Layout, filled

T = TypeVar("T")

REDACTED = "__REDACTED__"
"""What stands for content that an instrumentation, or we, were told to hide."""

_EMPTY_TEXTS = frozenset({"", "{}", "[]"})
_MAX_EMPTY = max(map(len, _EMPTY_TEXTS))
_JSON_BEGINS = re.compile(r'\s*(\{\s*"|\[\s*["\[{])')


class Field(NamedTuple):
    """Where a scalar stands: under a key, or at a path inside the JSON object under that key."""

    key: str
    path: tuple[str, ...] = ()


class Chain:
    """Fields that may all hold the same fact, best first; a text stands for a plain field."""

    def __init__(self, *places: str | Field) -> None:
        self.fields = tuple(Field(place) if isinstance(place, str) else place for place in places)
        self.keys = frozenset(field.key for field in self.fields)

    def __call__(self, layout: Layout) -> tuple[Field, ...]:
        """The question to a layout: which of the fields may be there."""
        return tuple(field for field in self.fields if field.key in layout.present)


class Reader:
    """The attributes of one span, and a note of which were used.

    Args:
        attributes: Any mapping; what is not a string among its keys is read under its text.
        families: The indexed families there are.
    """

    __slots__ = ("_decoded", "attributes", "cut", "families", "keys", "layout", "used")

    def __init__(self, attributes: Mapping[Any, Any], families: Families) -> None:
        layout = families.layout(tuple(attributes))
        if not layout.has_only_texts:
            attributes = {str(key): value for key, value in attributes.items()}
            layout = families.layout(tuple(attributes))
        self.attributes: Mapping[str, Any] = attributes
        self.layout = layout
        self.keys = layout.present
        self.families = layout.families
        self.used: set[str] = set()
        self.cut = False
        self._decoded: dict[str, Any] = {}

    def has_any(self, keys: Set[str]) -> bool:
        """True if there is content under any of the keys."""
        return not self.keys.isdisjoint(keys) and any(map(self.has, keys))

    def has(self, key: str) -> bool:
        """True if there is content under the key or the family prefix; a marker for hidden content is content."""
        value = self.attributes.get(key)
        return key in self.families if value is None else not is_empty(value)

    def get(self, key: str) -> Any:
        """The value as it was set; None when there is none."""
        return self.attributes.get(key)

    def value(self, key: str) -> Any:
        """The value, decoded if it is a text that looks like JSON; decoded at most once."""
        if key in self._decoded:
            return self._decoded[key]
        value = self.attributes.get(key)
        if isinstance(value, bytes):
            value = _text_of(value)
        if not isinstance(value, str) or not _looks_like_json(value):
            return value
        self._decoded[key] = decoded = decode(value)
        # What begins like JSON but neither parses nor ends like it was cut by an attribute length limit.
        if decoded is value and _JSON_BEGINS.match(value) and value.rstrip()[-1] not in "}]":
            self.cut = True
        return decoded

    def mapping(self, key: str) -> Mapping[str, Any]:
        """The JSON object under the key, empty when it is anything else."""
        value = self.value(key)
        return value if isinstance(value, dict) else {}

    def family(self, prefix: str) -> list[Any]:
        """The list that `prefix0.a.b`, `prefix1.c`, ... were flattened from, gaps closed."""
        found = filled(self.layout.outline(prefix), self.attributes)
        return found if isinstance(found, list) else [found]

    def is_cut(self, prefix: str) -> bool:
        """True for a family that has lost its beginning: the SDK's attribute limit evicts the oldest keys first."""
        family = self.families.get(prefix)
        return family is not None and not any(key.startswith(f"{prefix}0") for key in family)

    def first(self, chain: Chain, accept: Callable[[Any], T | None]) -> T | None:
        """The first acceptable value of the chain; the keys that say the same are used up with it."""
        found: T | None = None
        for key, path in self.layout[chain]:
            value = self.attributes.get(key)
            if value is None:
                continue
            accepted = accept(dig(self.value(key), path) if path else value)
            if accepted is None:
                continue
            if found is None:
                found = accepted
            if not path and accepted == found:
                self.used.add(key)
        return found

    def use(self, keys: Iterable[str]) -> None:
        """Note that the keys and families have become part of the item or repeat what has."""
        if not self.families:
            self.used.update(keys)
            return
        for key in keys:
            self.used.update(self.families.get(key, (key,)))


def is_empty(value: Any) -> bool:
    """True for what stands for no content: some instrumentations write `{}` where there was no answer."""
    if isinstance(value, str):
        return len(value) <= _MAX_EMPTY and value in _EMPTY_TEXTS  # a set reads a text to its end
    return value is None or (isinstance(value, (list, tuple, dict)) and not value)


def decode(text: str) -> Any:
    """The JSON object or list in the text, or the text itself: `123` and Python's own notation stay text."""
    if not _looks_like_json(text):
        return text
    try:
        return orjson.loads(text)
    except ValueError:
        return _decode_leniently(text)


def _decode_leniently(text: str) -> Any:
    # The standard library takes NaN, lone surrogates and raw control characters, which instrumentations do write.
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text


def _text_of(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _looks_like_json(text: str) -> bool:
    return text.lstrip().startswith(("{", "["))


def dig(value: Any, path: tuple[str, ...]) -> Any:
    """What stands at the path in nested mappings, or None."""
    for step in path:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def text(value: Any) -> str | None:
    """For `Reader.first`: a text with something in it."""
    return value if isinstance(value, str) and value else None
