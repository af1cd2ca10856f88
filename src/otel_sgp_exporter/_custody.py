"""Who ends a span: what `handoff` and `resume` have to tell processors, without knowing any."""

from __future__ import annotations

from typing import NamedTuple, Protocol
from weakref import WeakSet

from opentelemetry.context import create_key

RESUMED = create_key("otel-sgp-exporter-resumed")
"""In the context that a resumed span starts in: a `Resumed`."""


class Resumed(NamedTuple):
    """What the process that handed a span over knew of it."""

    start_seconds: float = 0.0
    """From now on its START may still arrive in SGP for so long."""
    is_exported: bool = True
    """False if the user's filter left the span out."""
    ancestor: int | None = None
    """Instead of the parent's, the id to link: 0 for none; None for the parent's."""
    group_id: str | None = None
    """The group of its trace."""


class Holder(Protocol):
    """What has to hear that another process will end a span."""

    def hand_off(self, trace_id: int, span_id: int) -> Resumed:
        """Forget the span, and say what is known of it."""


holders: WeakSet[Holder] = WeakSet()
"""Every processor of ours that lives."""


def hand_off(trace_id: int, span_id: int) -> Resumed:
    """Have every processor forget the span; what is known of it."""
    known = [holder.hand_off(trace_id, span_id) for holder in list(holders)]
    return Resumed(
        max((each.start_seconds for each in known), default=0.0),
        all(each.is_exported for each in known),
        next((each.ancestor for each in known if each.ancestor is not None), None),
        next((each.group_id for each in known if each.group_id is not None), None),
    )
