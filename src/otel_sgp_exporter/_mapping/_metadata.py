"""What the attributes say that has no field of its own in SGP: metadata under flat keys without dots."""

from __future__ import annotations

from typing import Any, NamedTuple

from otel_sgp_exporter._mapping._explicit import METADATA
from otel_sgp_exporter._mapping._facts import CACHE_WRITE, CONVERSATION, FINISH_REASON, MODEL, PROVIDER, TAGS, USER_ID
from otel_sgp_exporter._mapping._layout import Layout
from otel_sgp_exporter._mapping._payload import finish_reasons, known_model
from otel_sgp_exporter._mapping._precedence import (
    GROUPS,
    SILENT_KEYS,
    SILENT_PREFIXES,
    SILENT_SUFFIXES,
    SILENT_USER_PREFIXES,
    USER_METADATA,
    USER_METADATA_JSON,
)
from otel_sgp_exporter._mapping._reader import Reader, text
from otel_sgp_exporter._mapping._tidy import Tidy
from otel_sgp_exporter._mapping._usage import number

Metadata = dict[str, Any]

# SGP, or we, read meaning into these: a user's key of that name goes under another.
_RESERVED = frozenset({"usage", "cost_usd", "attributes", "truncated", *GROUPS.values()})
_FACT_KEYS = frozenset(
    key for chain in (MODEL, PROVIDER, FINISH_REASON, USER_ID, TAGS, CACHE_WRITE) for key in chain.keys
)
_RESERVED_PREFIXES = ("error", "__")
_USER_PREFIXES = (METADATA, *USER_METADATA)
_ROUTED = (*_USER_PREFIXES, *GROUPS)
_USER = "user"


def read_facts(reader: Reader) -> Metadata:
    """What conventions say about a span beside its payload, under one name for all of them."""
    if reader.keys.isdisjoint(_FACT_KEYS):
        return {}
    reasons = finish_reasons(reader)
    facts: Metadata = {
        "model": reader.first(MODEL, known_model),
        "provider": reader.first(PROVIDER, text),
        "finish_reason": reasons[0] if reasons and len(reasons) == 1 else reasons,
        "user_id": reader.first(USER_ID, text),
        "tags": reader.first(TAGS, _tags),
        "cache_write_tokens": reader.first(CACHE_WRITE, number),
    }
    return {name: value for name, value in facts.items() if value is not None}


def add_attributes(metadata: Metadata, reader: Reader, hidden: tuple[str, ...], group_id: str | None) -> bool:
    """Add the attributes that nothing has used; True if one had to be cut for its size."""
    tidy = Tidy()
    rest: Metadata = {}
    for key, group, name in reader.layout.once(_routes):
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
        for key in layout.keys
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


def _tags(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return sorted(filter(None, map(str.strip, value.split(",")))) or None
    if not isinstance(value, (list, tuple)):
        return None
    return [item for item in value if isinstance(item, str)] or None
