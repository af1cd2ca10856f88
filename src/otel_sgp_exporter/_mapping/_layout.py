"""What the keys of a span decide by themselves: worked out once for all spans that have the same ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

_INDEX = re.compile(r"[0-9]{1,6}")
_MAX_LAYOUTS = 512
_MAX_KEYS = 256  # of a layout that is remembered: a gateway reads spans of 4,096


class Layout(dict[Any, Any]):
    """The keys of a span's attributes, in their order, and what there is to say about them: `layout[question]`.

    An agent makes thousands of spans with a few dozen sets of keys, and most tables speak of none of them: what a table
    has to say is found out once. A question is about the keys alone, lives as long as the tables, and is told by its
    identity. Threads share a layout; at worst two of them find the same answer.
    """

    __slots__ = ("_outlines", "families", "has_only_texts", "present")

    def __init__(self, keys: tuple[Any, ...], families: dict[str, list[str]]) -> None:
        self.present = dict.fromkeys(keys).keys()
        self.has_only_texts = all(isinstance(key, str) for key in keys)
        self.families = families
        self._outlines: dict[str, Any] = {}

    if TYPE_CHECKING:

        def __getitem__(self, question: Callable[[Layout], T]) -> T: ...

    def __missing__(self, question: Callable[[Layout], T]) -> T:
        answer = self[question] = question(self)
        return answer

    def outline(self, prefix: str) -> Any:
        """The nested list that the keys of a family stand for, with the keys in the places of their values."""
        found = self._outlines.get(prefix)
        if found is None:
            found = self._outlines[prefix] = _outlined(self.families.get(prefix, ()), len(prefix))
        return found

    def has(self, key: str) -> bool:
        """True for a key that is there, and for the prefix of a family with members."""
        return key in self.present or key in self.families


def filled(outline: Any, attributes: Mapping[str, Any]) -> Any:
    """The outline with values in the places of their keys."""
    if type(outline) is list:
        return [attributes[part] if type(part) is str else filled(part, attributes) for part in outline]
    return {name: attributes[part] if type(part) is str else filled(part, attributes) for name, part in outline.items()}


def _outlined(keys: Iterable[str], start: int) -> Any:
    """Of keys such as `0.tool_calls.1.name` (from `start` on), in numeric order."""
    root: dict[str, Any] = {}
    for key in keys:
        node = root
        *path, last = key[start:].split(".")
        for step in path:
            child = node.get(step)
            if not isinstance(child, dict):
                child = node[step] = {}
            node = child
        node[last] = key
    return _listed(root)


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if all(map(_INDEX.fullmatch, node)):
        return [_listed(node[key]) for key in sorted(node, key=int)]
    return {key: _listed(value) for key, value in node.items()}


class Families:
    """The flattened lists that conventions know, by what their keys begin with.

    The digit keeps `gen_ai.prompt.name`, a template's name, out of the messages `gen_ai.prompt.0.*`.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        self.prefixes = tuple(sorted(set(prefixes)))
        self._member = re.compile(rf"({'|'.join(map(re.escape, self.prefixes))})[0-9]")
        self._remembered = lru_cache(_MAX_LAYOUTS)(self._layout)

    def layout(self, keys: tuple[Any, ...]) -> Layout:
        """The layout of these keys; the newest ones are remembered."""
        return self._remembered(keys) if len(keys) <= _MAX_KEYS else self._layout(keys)

    def _layout(self, keys: tuple[Any, ...]) -> Layout:
        # As plain texts: the layout is also that of spans with such keys, which members of enumerations are equal to.
        keys = tuple(str.__str__(key) if isinstance(key, str) else key for key in keys)
        families: dict[str, list[str]] = {}
        for key in keys:
            if isinstance(key, str) and key.startswith(self.prefixes) and (member := self._member.match(key)):
                families.setdefault(member[1], []).append(key)
        return Layout(keys, families)
