"""One span's attributes, read the same way by every convention: presence, lenient JSON, flattened lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, NamedTuple, TypeVar

import orjson

T = TypeVar("T")

REDACTED = "__REDACTED__"
"""What stands for content that an instrumentation, or we, were told to hide."""

_EMPTY_TEXTS = frozenset({"", "{}", "[]"})
_MAX_INDEX_DIGITS = 6


class Field(NamedTuple):
    """Where a scalar stands: under a key, or at a path inside the JSON object under that key."""

    key: str
    path: tuple[str, ...] = ()


class Chain(NamedTuple):
    """Fields that may all hold the same fact, best first; and their keys, to see at once that none is there."""

    fields: tuple[Field, ...]
    keys: frozenset[str]


def chain(*places: str | Field) -> Chain:
    """A chain of fields; a text stands for a plain field."""
    found = tuple(Field(place) if isinstance(place, str) else place for place in places)
    return Chain(found, frozenset(field.key for field in found))


class Reader:
    """The attributes of one span, and a note of which were used.

    Args:
        attributes: Any mapping; what is not a string among its keys is read under its text.
        prefixes: What the keys of indexed families begin with, `llm.input_messages.` for example.
    """

    __slots__ = ("_decoded", "_keys", "attributes", "cut", "families", "used")

    def __init__(self, attributes: Mapping[Any, Any], prefixes: tuple[str, ...]) -> None:
        if {*map(type, attributes)} - {str}:
            attributes = {str(key): value for key, value in attributes.items()}
        self.attributes: Mapping[str, Any] = attributes
        self._keys = attributes.keys()
        self.families: dict[str, list[str]] = {}
        self.used: set[str] = set()
        self.cut = False
        self._decoded: dict[str, Any] = {}
        for key in attributes:
            if key.startswith(prefixes):
                self._note_family(key, prefixes)

    def _note_family(self, key: str, prefixes: tuple[str, ...]) -> None:
        for prefix in prefixes:
            # The digit keeps `gen_ai.prompt.name`, a template's name, out of the messages `gen_ai.prompt.0.*`.
            if key.startswith(prefix) and key[len(prefix) : len(prefix) + 1].isdecimal():
                self.families.setdefault(prefix, []).append(key)

    def has_any(self, keys: Set[str]) -> bool:
        """True if there is content under any of the keys."""
        return not self._keys.isdisjoint(keys) and any(map(self.has, keys))

    def has(self, key: str) -> bool:
        """True if there is content under the key or the family prefix; a marker for hidden content is content."""
        return key in self.families or not is_empty(self.attributes.get(key))

    def get(self, key: str) -> Any:
        """The value as it was set; None when there is none."""
        return self.attributes.get(key)

    def value(self, key: str) -> Any:
        """The value, decoded if it is a text that looks like JSON; decoded at most once."""
        value = self.attributes.get(key)
        if isinstance(value, bytes):
            value = _text_of(value)
        if not isinstance(value, str):
            return value
        if key not in self._decoded:
            self._decoded[key] = decoded = decode(value)
            # JSON that neither parses nor ends like JSON was cut by an attribute length limit.
            if decoded is value and _looks_like_json(value) and value.rstrip()[-1] not in "}]":
                self.cut = True
        return self._decoded[key]

    def mapping(self, key: str) -> Mapping[str, Any]:
        """The JSON object under the key, empty when it is anything else."""
        value = self.value(key)
        return value if isinstance(value, dict) else {}

    def family(self, prefix: str) -> list[Any]:
        """The list that `prefix0.a.b`, `prefix1.c`, ... were flattened from, gaps closed."""
        return unflatten({key[len(prefix) :]: self.attributes[key] for key in self.families.get(prefix, ())})

    def is_cut(self, prefix: str) -> bool:
        """True for a family that has lost its beginning: the SDK's attribute limit evicts the oldest keys first."""
        family = self.families.get(prefix)
        return family is not None and not any(key.startswith(f"{prefix}0") for key in family)

    def first(self, chain: Chain, accept: Callable[[Any], T | None]) -> T | None:
        """The first acceptable value of the chain; the keys that say the same are used up with it."""
        found: T | None = None
        if self._keys.isdisjoint(chain.keys):
            return found
        for key, path in chain.fields:
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
        for key in keys:
            self.used.update(self.families.get(key, (key,)))


def is_empty(value: Any) -> bool:
    """True for what stands for no content: some instrumentations write `{}` where there was no answer."""
    if isinstance(value, str):
        return value in _EMPTY_TEXTS
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
    return text[:1] in ("{", "[") or text.lstrip()[:1] in ("{", "[")


def dig(value: Any, path: tuple[str, ...]) -> Any:
    """What stands at the path in nested mappings, or None."""
    for step in path:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def unflatten(flat: Mapping[str, Any]) -> list[Any]:
    """The nested list that keys such as `0.tool_calls.1.name` stand for, in numeric order."""
    root: dict[str, Any] = {}
    for key, value in flat.items():
        node = root
        *path, last = key.split(".")
        for step in path:
            child = node.get(step)
            if not isinstance(child, dict):
                child = node[step] = {}
            node = child
        node[last] = value
    listed = _listed(root)
    return listed if isinstance(listed, list) else [listed]


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if all(key.isdecimal() and len(key) <= _MAX_INDEX_DIGITS for key in node):
        return [_listed(node[key]) for key in sorted(node, key=int)]
    return {key: _listed(value) for key, value in node.items()}


def text(value: Any) -> str | None:
    """For `Reader.first`: a text with something in it."""
    return value if isinstance(value, str) and value else None
