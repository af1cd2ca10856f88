"""The counts as OpenTelemetry metrics, under the names of the semantic conventions and a few of our own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from weakref import WeakMethod

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter_provider

from ._ledger import Stats
from ._outcome import Action, DropReason, Verdict
from ._version import __version__

_logger = logging.getLogger(__package__)

_COMPONENT = {"otel.component.type": "sgp_span_exporter", "otel.component.name": "sgp_span_exporter/0"}
_BEFORE_THE_EXPORTER = (DropReason.QUEUE_FULL, DropReason.CLOSED)


class Metrics:
    """Reports what `stats` says whenever a reader asks, and the duration of each attempt.

    Nothing in here raises: a broken meter provider costs the metrics.

    Args:
        stats: A method that says the counts at this moment. A meter never forgets what it asks: its object may go.
        capacity: Records that the queue holds at most.
        meter_provider: The global one if None.
    """

    def __init__(self, stats: Callable[[], Stats], capacity: int, meter_provider: MeterProvider | None) -> None:
        self._stats = WeakMethod(stats)
        self._capacity = capacity
        self._duration: Callable[[float, Mapping[str, str | int]], object] = lambda seconds, attributes: None
        try:
            self._register((meter_provider or get_meter_provider()).get_meter("otel_sgp_exporter", __version__))
        except Exception:
            _logger.exception("There are no metrics of the exporter")

    def _register(self, meter: Meter) -> None:
        level, total = meter.create_observable_up_down_counter, meter.create_observable_counter
        level("otel.sdk.processor.span.queue.size", [self._of(lambda s: s.pending)], "{record}")
        level("otel.sdk.processor.span.queue.capacity", [self._of(lambda s: self._capacity)], "{record}")
        total("otel.sdk.processor.span.processed", [self._processed], "{span}")
        level("otel.sdk.exporter.span.inflight", [self._of(lambda s: s.in_flight)], "{record}")
        total("otel.sdk.exporter.span.exported", [self._exported], "{span}")
        total("sgp.exporter.record.delivered", [self._of(lambda s: s.delivered)], "{record}")
        total("sgp.exporter.record.superseded", [self._of(lambda s: s.superseded)], "{record}")
        total("sgp.exporter.record.reasserted", [self._of(lambda s: s.reasserted)], "{record}")
        total("sgp.exporter.record.spooled", [self._of(lambda s: s.spooled)], "{record}")
        level("sgp.exporter.queue.bytes", [self._of(lambda s: s.held_bytes)], "By")
        level("sgp.exporter.concurrency", [self._of(lambda s: s.concurrency)], "{request}")
        self._duration = meter.create_histogram("otel.sdk.exporter.operation.duration", "s").record

    def attempted(self, seconds: float, verdict: Verdict) -> None:
        """An attempt took `seconds`. Called by senders."""
        attributes: dict[str, str | int] = dict(_COMPONENT)
        if verdict.status:
            attributes["http.response.status_code"] = verdict.status
        if verdict.action is not Action.DONE:
            attributes["error.type"] = str(verdict.status or "transport")
        try:
            self._duration(seconds, attributes)
        except Exception:
            _logger.debug("The duration of an export was not recorded", exc_info=True)

    @staticmethod
    def _observed(value: int, **attributes: str) -> Observation:
        return Observation(value, {**_COMPONENT, **{key.replace("_", "."): text for key, text in attributes.items()}})

    def _of(self, read: Callable[[Stats], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda options: [self._observed(read(stats)) for stats in self._known()]

    def _processed(self, options: CallbackOptions) -> Iterable[Observation]:
        for stats in self._known():
            yield self._observed(stats.spans_delivered + stats.spooled)
            for reason, count in stats.lost.items():
                yield self._observed(count, error_type=reason.value)

    def _exported(self, options: CallbackOptions) -> Iterable[Observation]:
        for stats in self._known():
            yield self._observed(stats.spans_delivered)
            for reason, count in stats.lost.items():
                if reason not in _BEFORE_THE_EXPORTER:
                    yield self._observed(count, error_type=reason.value)

    def _known(self) -> list[Stats]:
        stats = self._stats()
        return [stats()] if stats else []
