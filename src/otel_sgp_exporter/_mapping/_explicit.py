"""`sgp.*` span attributes: what the user says outright, before any convention."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from otel_sgp_exporter._mapping._layout import Layout
from otel_sgp_exporter._mapping._memory import TraceMemory
from otel_sgp_exporter._mapping._reader import Reader, text
from otel_sgp_exporter._mapping._types import SPAN_TYPES

INPUT = "sgp.input"
OUTPUT = "sgp.output"
EXPECTED = "sgp.expected"
METADATA = "sgp.metadata."

_TYPE = "sgp.type"
_NATIVE_TYPE = "__span_type__"
_NAME = "sgp.name"
_GROUP_ID = "sgp.group_id"
APPLICATION = ("sgp.application_variant_id", "sgp.application_interaction_id")
_KEYS = frozenset({_TYPE, _NATIVE_TYPE, _NAME, _GROUP_ID, *APPLICATION})
_MAX_ID_BYTES = 256
_KEPT_BYTES = 191

_log = logging.getLogger(__name__)


class Overrides:
    """The overrides of one span; one of the wrong kind is warned of once and counts as not given."""

    type: str | None = None
    name: str | None = None
    group_id: str | None = None
    application: Mapping[str, str] = MappingProxyType({})

    def __init__(self, reader: Reader, memory: TraceMemory) -> None:
        if not reader.layout[_is_overridden]:
            return
        self._reader = reader
        self._memory = memory
        self.type = self._read(_TYPE, span_type, "one of SGP's span types") or span_type(reader.get(_NATIVE_TYPE))
        self.name = self._read(_NAME, text, "a text")
        self.group_id = self._read(_GROUP_ID, identifier, "a text")
        self.application = {
            key[len("sgp.") :]: value for key in APPLICATION if (value := self._read(key, identifier, "a text"))
        }

    def _read(self, key: str, accept: Callable[[Any], str | None], wanted: str) -> str | None:
        value = self._reader.get(key)
        if value is None:
            return None
        accepted = accept(value)
        if accepted is not None:
            self._reader.used.add(key)
        elif self._memory.first_warning(key):
            _log.warning("The span attribute %s must be %s; it is ignored on every span where it is not", key, wanted)
        return accepted


def _is_overridden(layout: Layout) -> bool:
    return not layout.present.isdisjoint(_KEYS)


def span_type(value: Any) -> str | None:
    """The SGP span type of that name, in any case."""
    upper = value.upper() if isinstance(value, str) else None
    return upper if upper in SPAN_TYPES else None


def identifier(value: Any) -> str | None:
    """A text that SGP takes for an id: valid UTF-8 without NUL, at most 256 bytes; a longer one ends in its hash."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    found = str(value).replace("\0", "").encode("utf-8", "replace")
    if len(found) > _MAX_ID_BYTES:
        found = found[:_KEPT_BYTES] + b"-" + hashlib.sha256(found).hexdigest().encode()
    return found.decode("utf-8", "ignore") or None
