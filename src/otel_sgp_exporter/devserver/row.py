"""A span as one store keeps it: the columns that reads filter and sort by, and the document that they answer with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .codec import encode
from .settings import Settings, StoreName
from .timestamps import iso, utc_day
from .validation import Span

_TOKEN_KEYS = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
}


class Row(NamedTuple):
    """One row of either store, in the order of its columns."""

    scope: str
    account: str
    trace_id: str
    id: str
    start_day: int
    name: str
    parent_id: str | None
    group_id: str | None
    status: str
    type: str
    start_us: int
    end_us: int | None
    application_variant_id: str | None
    obs_trace_id: str | None
    obs_span_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    is_aggregate: bool  # its usage sums up the spans below it
    document: bytes

    def identity(self, store: StoreName) -> tuple[Any, ...]:
        """What makes two writes the same span: (scope, id) for legacy, trace and UTC day as well for tracing."""
        if store == "legacy":
            return (self.scope, self.id)
        return (self.account, self.trace_id, self.id, self.start_day)


def make_row(span: Span, account: str, store: StoreName, settings: Settings) -> Row:
    document = {"object": "span", "account_id": account, **span}
    document["created_by"] = {"object": "identity", "id": account, "type": "service_account"}
    document["start_timestamp"] = iso(span["start_timestamp"])
    document["end_timestamp"] = None if span["end_timestamp"] is None else iso(span["end_timestamp"])
    tokens = reported_tokens(span) if settings.usage_keys == "all" else {}
    if store == "traces":
        document.update(tokens)
    else:
        document["obs_trace_id"] = document["obs_span_id"] = None
    return Row(
        scope=account if settings.legacy_id_scope == "account" else "",
        account=account,
        trace_id=span["trace_id"],
        id=span["id"],
        start_day=utc_day(span["start_timestamp"]),
        name=span["name"],
        parent_id=span["parent_id"],
        group_id=span["group_id"],
        status=span["status"],
        type=span["type"],
        start_us=span["start_timestamp"],
        end_us=span["end_timestamp"],
        application_variant_id=span["application_variant_id"],
        obs_trace_id=document["obs_trace_id"],
        obs_span_id=document["obs_span_id"],
        input_tokens=tokens.get("input_tokens"),
        output_tokens=tokens.get("output_tokens"),
        cost_usd=reported_cost(span),
        is_aggregate=bool(_usage(span, "metadata")),
        document=encode(document),
    )


def reported_tokens(span: Span) -> dict[str, int]:
    """The token counts in `output.usage`, else in `metadata.usage`; a count that was not reported is absent."""
    return _tokens(_usage(span, "metadata")) | _tokens(_usage(span, "output"))


def reported_cost(span: Span) -> float | None:
    """The `cost_usd` of `output.usage`, of `metadata.usage` or of the metadata; None when there is none."""
    for place in (_usage(span, "output"), _usage(span, "metadata"), span["metadata"] or {}):
        cost = place.get("cost_usd")
        if isinstance(cost, (int, float)) and not isinstance(cost, bool) and 0 <= cost < 1 << 53:
            return float(cost)
    return None


def _usage(span: Span, field: str) -> dict[str, Any]:
    usage = (span[field] or {}).get("usage")
    return usage if isinstance(usage, dict) else {}


def _tokens(usage: dict[str, Any]) -> dict[str, int]:
    counts = ((field, usage[key]) for key, field in _TOKEN_KEYS.items() if key in usage)
    return {field: count for field, count in counts if type(count) is int and 0 <= count < 1 << 63}


@dataclass
class Write:
    """What one request does to one row, repeated ids of the request taken together."""

    row: Row
    starts: int = 0
    ends: int = 0
    late_starts: int = 0  # STARTs that follow an END within the request

    def add(self, row: Row, store: StoreName) -> None:
        in_progress = row.end_us is None
        completed_wins = store == "traces" and in_progress and self.row.end_us is not None
        self.row = self.row if completed_wins else row
        self.late_starts += in_progress and self.ends > 0
        self.starts += in_progress
        self.ends += not in_progress


def collapse(rows: Iterable[Row], store: StoreName) -> list[Write]:
    """One write per row identity: the last occurrence wins, in tracing a completed one over one in progress."""
    writes: dict[tuple[Any, ...], Write] = {}
    for row in rows:
        writes.setdefault(row.identity(store), Write(row)).add(row, store)
    return list(writes.values())
