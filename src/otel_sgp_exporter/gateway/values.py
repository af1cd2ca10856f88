"""OTLP attributes as plain values, within limits: a sender may be anybody. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

MAX_ATTRIBUTES = 4_096
"""Of a span, an event, a link, a resource or a scope; what is beyond is dropped and counted, as SDKs do."""
MAX_KEY_CHARACTERS = 256
MAX_VALUES = 100_000
"""Of a span, those in lists and maps included."""

_PLAIN = frozenset({"string_value", "int_value", "double_value", "bool_value", "bytes_value"})


class _TooMany(Exception):  # noqa: N818  # an answer
    """There are more values than one span may have."""


class Unpacker:
    """Unpacks the attributes of one span, its events and its links.

    `count` says how many values there were so far; at `MAX_VALUES` it stops, and attributes are dropped.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def attributes(self, pairs: Sequence[KeyValue]) -> tuple[dict[str, Any], int]:
        """The attributes, the last of each key, and how many were dropped."""
        attributes: dict[str, Any] = {}
        dropped = 0
        if len(pairs) > MAX_ATTRIBUTES:
            dropped = len(pairs) - MAX_ATTRIBUTES
            pairs = pairs[:MAX_ATTRIBUTES]
        self.count += len(pairs)
        for pair in pairs:
            key, value = pair.key, pair.value
            kind = value.WhichOneof("value")
            if len(key) > MAX_KEY_CHARACTERS or self.count > MAX_VALUES:
                dropped += 1
            elif kind in _PLAIN:  # nearly all are, and this runs for every one
                attributes[key] = getattr(value, kind)
            else:
                try:
                    attributes[key] = self._value(value)
                except _TooMany:
                    dropped += 1
        return attributes, dropped

    def _value(self, value: AnyValue) -> Any:
        kind = value.WhichOneof("value")
        if kind in _PLAIN:
            return getattr(value, kind)
        if kind == "array_value":
            values = value.array_value.values
            self._spend(len(values))
            return tuple([self._value(each) for each in values])  # as the SDK keeps lists
        if kind == "kvlist_value":
            pairs = value.kvlist_value.values
            self._spend(len(pairs))
            return {pair.key: self._value(pair.value) for pair in pairs}
        return None

    def _spend(self, values: int) -> None:
        if self.count + values > MAX_VALUES:
            raise _TooMany
        self.count += values
