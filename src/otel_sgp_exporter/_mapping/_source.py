"""Where a payload can stand, and how to read it there: the rows of which the conventions are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from otel_sgp_exporter._mapping._layout import Layout
from otel_sgp_exporter._mapping._reader import Reader

CHAIN = "chain"
"""Stands for a type that depends on the span's place in its trace, see `_types`."""


def decoded(reader: Reader, key: str) -> Any:
    """The value, decoded if it is a text that looks like JSON."""
    return reader.value(key)


def plain(reader: Reader, key: str) -> Any:
    """The value as it was set."""
    return reader.get(key)


def indexed(reader: Reader, key: str) -> Any:
    """The list that was flattened under the prefix `key`."""
    return reader.family(key)


class Source(NamedTuple):
    """One place for a payload: a key, or the prefix of an indexed family, which ends with a dot.

    `read` gives the payload without what the convention wraps around it; None if there is none after all. `is_copy`:
    when a better source of the chain is taken, this one repeats the payload and is not to be sent as well.
    """

    key: str
    read: Callable[[Reader, str], Any] = decoded
    is_copy: bool = True


class Sources:
    """Sources of the same payload, best first."""

    def __init__(self, sources: tuple[Source, ...]) -> None:
        self._sources = sources

    def __call__(self, layout: Layout) -> tuple[Source, ...]:
        """The question to a layout: which of the sources may be there."""
        return tuple(source for source in self._sources if layout.has(source.key))

    def present(self, reader: Reader) -> list[Source]:
        """Those that have something in them."""
        possible = reader.layout[self]
        return [source for source in possible if reader.has(source.key)] if possible else []


class KindRule(NamedTuple):
    """A key whose value says what a span is. Values are compared in lower case; what is not listed decides nothing."""

    key: str
    types: Mapping[str, str]
