"""What the keys of a span decide by themselves: worked out once for all spans that have the same ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeVar, cast

T = TypeVar("T")

_MAX_LAYOUTS = 512


class Layout:
    """The keys of a span's attributes, in their order.

    An agent makes thousands of spans with a few dozen sets of keys, and most tables speak of none of them: what a table
    has to say is asked with `once`. Threads share a layout; at worst two of them find the same answer.
    """

    __slots__ = ("_answers", "families", "keys")

    def __init__(self, keys: tuple[str, ...], families: dict[str, list[str]]) -> None:
        self.keys = dict.fromkeys(keys).keys()
        self.families = families
        self._answers: dict[Any, Any] = {}

    def once(self, question: Callable[[Layout], T]) -> T:
        """The answer to a question about the keys alone; questions live as long as the tables and are told by identity."""
        try:
            return cast(T, self._answers[question])
        except KeyError:
            answer = self._answers[question] = question(self)
            return answer

    def has(self, key: str) -> bool:
        """True for a key that is there, and for the prefix of a family with members."""
        return key in self.keys or key in self.families


class Families:
    """The flattened lists that conventions know, by what their keys begin with.

    The digit keeps `gen_ai.prompt.name`, a template's name, out of the messages `gen_ai.prompt.0.*`.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        self.prefixes = tuple(sorted(set(prefixes)))
        self._member = re.compile(rf"({'|'.join(map(re.escape, self.prefixes))})[0-9]")
        self.layout = lru_cache(_MAX_LAYOUTS)(self._layout)

    def _layout(self, keys: tuple[str, ...]) -> Layout:
        """The layout of these keys; the newest ones are remembered."""
        families: dict[str, list[str]] = {}
        for key in keys:
            if key.startswith(self.prefixes) and (member := self._member.match(key)):
                families.setdefault(member[1], []).append(key)
        return Layout(keys, families)
