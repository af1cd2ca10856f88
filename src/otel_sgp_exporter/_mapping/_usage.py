"""Token usage: on the output of the spans that SGP bills, elsewhere only noted in metadata."""

from __future__ import annotations

from math import isfinite
from typing import Any

from otel_sgp_exporter._mapping._facts import USAGE
from otel_sgp_exporter._mapping._genai import OPERATION, UNBILLED_OPERATIONS
from otel_sgp_exporter._mapping._layout import Layout
from otel_sgp_exporter._mapping._reader import Chain, Reader

Usage = dict[str, Any]

BILLED_TYPES = frozenset({"COMPLETION", "RERANKING", "EXTERNAL_ENDPOINT"})
"""Spans that may stand for one paid call (embeddings are external); agents and chains add up what their calls paid."""


def read_usage(reader: Reader) -> Usage:
    """The usage that the span reports, under SGP's names; empty when it reports none."""
    usage: Usage = {}
    reported = reader.layout[_reported]
    if not reported:
        return usage
    for name, chain in reported:
        if (found := reader.first(chain, number)) is not None:
            usage[name] = found
    if "total_tokens" not in usage and "input_tokens" in usage and "output_tokens" in usage:
        usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]
    return usage


def _reported(layout: Layout) -> list[tuple[str, Chain]]:
    return [(name, chain) for name, chain in USAGE.items() if not layout.present.isdisjoint(chain.keys)]


def is_billed(reader: Reader) -> bool:
    """False for an operation that reports the usage of a call which another span has billed."""
    operation = reader.get(OPERATION.key)
    return not isinstance(operation, str) or operation not in UNBILLED_OPERATIONS


def number(value: Any) -> int | float | None:
    """For `Reader.first`: a count or an amount; True is none."""
    if type(value) is int:
        return value if value >= 0 else None
    return value if isinstance(value, float) and value >= 0 and isfinite(value) else None
