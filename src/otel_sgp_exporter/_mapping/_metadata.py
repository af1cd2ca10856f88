"""What the attributes say that has no field of its own in SGP: metadata under flat keys without dots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from otel_sgp_exporter._mapping._explicit import METADATA
from otel_sgp_exporter._mapping._facts import CACHE_WRITE, CONVERSATION, FINISH_REASON, MODEL, PROVIDER, TAGS, USER_ID
from otel_sgp_exporter._mapping._layout import Layout
from otel_sgp_exporter._mapping._payload import known_model, texts
from otel_sgp_exporter._mapping._precedence import (
    GROUPS,
    SILENT_KEYS,
    SILENT_PREFIXES,
    SILENT_SUFFIXES,
    SILENT_USER_PREFIXES,
    USER_METADATA,
    USER_METADATA_JSON,
)
from otel_sgp_exporter._mapping._reader import Chain, Reader, text
from otel_sgp_exporter._mapping._tidy import Tidy
from otel_sgp_exporter._mapping._usage import number

Metadata = dict[str, Any]

# SGP, or we, read meaning into these: a user's key of that name goes under another.
_RESERVED = frozenset({"usage", "cost_usd", "attributes", "truncated", *GROUPS.values()})
_RESERVED_PREFIXES = ("error", "__")
_USER_PREFIXES = (METADATA, *USER_METADATA)
_ROUTED = (*_USER_PREFIXES, *GROUPS)
_USER = "user"


def read_facts(reader: Reader) -> Metadata:
    """What conventions say about a span beside its payload, under one name for all of them."""
    facts: Metadata = {}
    for name, chain, accept in reader.layout[_stated]:
        if (found := reader.first(chain, accept)) is not None:
            facts[name] = found
    return facts


class _Fact(NamedTuple):
    name: str
    chain: Chain
    accept: Callable[[Any], Any]


def _stated(layout: Layout) -> list[_Fact]:
    return [fact for fact in _FACTS if not layout.present.isdisjoint(fact.chain.keys)]


def add_attributes(metadata: Metadata, reader: Reader, hidden: tuple[str, ...], group_id: str | None) -> bool:
    """Add the attributes that nothing has used; True if one had to be cut for its size."""
    tidy = Tidy()
    rest: Metadata = {}
    for key, group, name in reader.layout[_routes]:
        if key in reader.used or (hidden and key.startswith(hidden)):
            continue
        if group is _USER:
            _add_user(metadata, name, tidy(reader.value(key)), group_id)
        elif group is not None:
            metadata.setdefault(group, {})[name] = tidy(reader.value(key))
        elif key == USER_METADATA_JSON and (user := reader.mapping(key)):
            for inner, item in user.items():
                _add_user(metadata, str(inner), tidy(item), group_id)
        else:
            rest[key] = tidy(reader.attributes[key])
    if rest:
        metadata["attributes"] = rest
    return tidy.cut


class _Route(NamedTuple):
    """Where an attribute goes in the metadata: into a group, among the user's own keys, or with the rest (None)."""

    key: str
    group: str | None
    name: str


def _routes(layout: Layout) -> list[_Route]:
    return [
        _route(key)
        for key in layout.present
        if not (key in SILENT_KEYS or key.startswith(SILENT_PREFIXES) or key.endswith(SILENT_SUFFIXES))
    ]


def _route(key: str) -> _Route:
    prefix = next(filter(key.startswith, _ROUTED), "")
    name = key[len(prefix) :]
    if prefix in _USER_PREFIXES:
        return _Route(key, _USER, name)
    return _Route(key, None if name[:1].isdecimal() else GROUPS.get(prefix), name)


def _add_user(metadata: Metadata, name: str, value: Any, group_id: str | None) -> None:
    name = name.replace(".", "_")
    repeated = metadata.get(name) == value or (name in CONVERSATION and str(value) == group_id)
    if repeated or name.startswith(SILENT_USER_PREFIXES):
        return
    if name in metadata or name in _RESERVED or name.startswith(_RESERVED_PREFIXES):
        name = f"user_{name}"
    metadata[name] = value


def _finish_reason(value: Any) -> str | tuple[str, ...] | None:
    reasons = texts(value)
    return reasons[0] if reasons and len(reasons) == 1 else reasons


def _tags(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return sorted(filter(None, map(str.strip, value.split(",")))) or None
    if not isinstance(value, (list, tuple)):
        return None
    return [item for item in value if isinstance(item, str)] or None


_FACTS = (
    _Fact("model", MODEL, known_model),
    _Fact("provider", PROVIDER, text),
    _Fact("finish_reason", FINISH_REASON, _finish_reason),
    _Fact("user_id", USER_ID, text),
    _Fact("tags", TAGS, _tags),
    _Fact("cache_write_tokens", CACHE_WRITE, number),
)
