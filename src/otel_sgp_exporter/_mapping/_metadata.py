"""What the attributes say that has no field of its own in SGP: metadata under flat keys without dots."""

from __future__ import annotations

from typing import Any

from otel_sgp_exporter._mapping._explicit import METADATA
from otel_sgp_exporter._mapping._facts import CACHE_WRITE, CONVERSATION, MODEL, PROVIDER, TAGS, USER_ID
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
_RESERVED_PREFIXES = ("error", "__")
_USER_PREFIXES = (METADATA, *USER_METADATA)
_ROUTED = (*_USER_PREFIXES, *GROUPS)


def read_facts(reader: Reader) -> Metadata:
    """What conventions say about a span beside its payload, under one name for all of them."""
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
    left_out = SILENT_PREFIXES + hidden
    for key, value in reader.attributes.items():
        if key in reader.used or key in SILENT_KEYS or key.startswith(left_out) or key.endswith(SILENT_SUFFIXES):
            continue
        if key == USER_METADATA_JSON and (user := reader.mapping(key)):
            for name, item in user.items():
                _add_user(metadata, str(name), tidy(item), group_id)
        elif not key.startswith(_ROUTED) or not _route(metadata, key, tidy(reader.value(key)), group_id):
            rest[key] = tidy(value)
    if rest:
        metadata["attributes"] = rest
    return tidy.cut


def _route(metadata: Metadata, key: str, value: Any, group_id: str | None) -> bool:
    """Put the value where its prefix says; False if the prefix does not mean this key."""
    prefix = next(filter(key.startswith, _ROUTED))
    name = key[len(prefix) :]
    if prefix in _USER_PREFIXES:
        _add_user(metadata, name, value, group_id)
    elif name[:1].isdecimal():
        return False
    else:
        metadata.setdefault(GROUPS[prefix], {})[name] = value
    return True


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
