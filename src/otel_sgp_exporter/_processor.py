"""The span processor: what the SDK calls, made safe for the application. It and `_record` alone know SDK internals."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any, cast

from opentelemetry.context import Context, get_current
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanContext, TraceFlags

from ._config import UNSET, ProcessorConfig, Unset
from ._custody import RESUMED, Resumed, holders
from ._delivery import Delivery
from ._joining import Joining
from ._journal import say
from ._ledger import FlushResult, Stats
from ._metrics import Metrics
from ._parse import FOR_EVER_MILLIS, function
from ._pipeline import Pipeline
from ._record import END, START, Phase, Record, Seen, SpanKey, attributes_of, links_of
from ._selection import Selection, SpanFilter
from ._temporal import is_replaying

_SAMPLED = TraceFlags.SAMPLED


class ConcurrentBatchSpanProcessor(BatchSpanProcessor):
    """Upserts every sampled span twice, when it starts and when it ends, over several requests at a time.

    A drop-in for `BatchSpanProcessor`: the same positional arguments, `OTEL_BSP_*` variables and errors, but not its
    machinery, which sends ENDs only and one batch at a time. All methods may be called from any thread.

    Args:
        span_exporter: The `SGPSpanExporter` to deliver through. It is shut down together with the processor.
        max_queue_size: Records held at most (a span has two), those in flight included.
        schedule_delay_millis: How long a record waits for others to share its request.
        max_export_batch_size: Records in one request, at most 1000.
        export_timeout_millis: Budget of one batch, retries included.
        max_concurrent_exports: Requests in flight at most.
        max_queue_bytes: Bytes held at most: queued, encoded and in flight.
        start_delay_millis: 0 sends a START for every span; N only for spans still open after N ms; None or "off" none.
        cancel_open_spans: Close spans as CANCELED that SGP shows as running at shutdown; True unless set.
        spool: Directory that keeps ENDs which could not be delivered, for the next process or `otel-sgp replay`.
        span_filter: Asked once for each sampled span, when it starts: False leaves it out, START and END, and its
            children are linked to the nearest span above that is exported. `agent_spans` is a ready-made one.
        meter_provider: Gets the processor's own metrics; the global one unless set.

    Raises:
        ValueError: An argument is wrong; the text names it.
        TypeError: The exporter is not an `SGPSpanExporter`.
    """

    # Logfire's tail sampling passes a START on only with the decision to keep its trace, so that no ghost is left.
    tail_sampling_defer_on_start = True

    # The stock constructor would start a thread and fork hooks of its own; all its methods are overridden here.
    def __init__(  # pylint: disable=super-init-not-called
        self,
        span_exporter: SpanExporter,
        max_queue_size: int | None = None,
        schedule_delay_millis: float | None = None,
        max_export_batch_size: int | None = None,
        export_timeout_millis: float | None = None,
        *,
        max_concurrent_exports: int | None = None,
        max_queue_bytes: int | None = None,
        start_delay_millis: float | str | Unset | None = UNSET,
        cancel_open_spans: bool | None = None,
        spool: str | os.PathLike[str] | None = None,
        span_filter: SpanFilter | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        config = ProcessorConfig.from_env(
            max_queue_size=max_queue_size,
            schedule_delay_millis=schedule_delay_millis,
            max_export_batch_size=max_export_batch_size,
            export_timeout_millis=export_timeout_millis,
            max_concurrent_exports=max_concurrent_exports,
            max_queue_bytes=max_queue_bytes,
            start_delay_millis=start_delay_millis,
            cancel_open_spans=cancel_open_spans,
            spool=spool,
        )
        delivery = getattr(span_exporter, "delivery", None)
        if not isinstance(delivery, Delivery):
            raise TypeError(f"span_exporter must be an SGPSpanExporter, not {type(span_exporter).__name__}.")
        self._exporter = span_exporter
        self._delivery = delivery
        self._sends_starts = config.start_delay_millis is not None
        self._refreshes_starts = bool(config.start_delay_millis)
        kept_in = span_exporter.spool_in(config.spool) if config.spool else None  # type: ignore[attr-defined]
        self._selection = Selection(function("span_filter", span_filter)) if span_filter is not None else None
        self._joining = Joining()
        self._pipeline = Pipeline(delivery, config, kept_in)
        delivery.attempted = Metrics(self._pipeline.stats, config.max_queue_size, meter_provider).attempted
        self._complained = False
        holders.add(self)
        self._in_shutdown: set[int] = set()

    @property
    def span_exporter(self) -> SpanExporter:
        """The exporter that was passed in."""
        return self._exporter

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Queue the START of a sampled span. Never raises.

        Never waits for the network; in a flood, a moment for the thread of ours that counts the records.
        """
        context = get_current() if parent_context is None else parent_context
        if self._joining.concerns(span, context) and self._is_resumed(span, context):
            return
        if is_replaying():
            self._start_again(span)
        elif self._sends_starts or self._selection:
            self._offer(START, span)

    def _start_again(self, span: Span) -> None:
        """A span of which SGP has the START, and perhaps the END."""
        if self._selection is not None:
            where = span.get_span_context()
            self._selection.started((where.trace_id, where.span_id), span)

    def _is_resumed(self, span: Span, context: Context) -> bool:
        """Whether the START was another process's to send; and whatever else `context` says about the span."""
        try:
            resumed = context.get(RESUMED)
            if isinstance(resumed, Resumed):
                self._resume(span, resumed)
                return True
            self._joining.join(span, context, self._selection)
        except Exception:
            self._complain()
        return False

    def _resume(self, span: Span, resumed: Resumed) -> None:
        where = span.get_span_context()
        key = (where.trace_id, where.span_id)
        self._joining.resumed(span)
        self._delivery.encoder.group_of(where.trace_id, resumed.group_id)
        if self._selection is not None:
            self._selection.resumed(key, resumed.is_exported, resumed.ancestor)
        if resumed.start_seconds > 0:
            self._pipeline.resume(key, resumed.start_seconds)

    def hand_off(self, trace_id: int, span_id: int) -> Resumed:
        """For `handoff()`: another process will end the span. What is known of it here."""
        key = (trace_id, span_id)
        seconds = self._pipeline.hand_off(key)
        group_id = self._delivery.encoder.group_of(trace_id)
        if self._selection is None:
            return Resumed(seconds, group_id=group_id)
        return Resumed(seconds, self._selection.is_exported(key), self._selection.above(key), group_id)

    def _on_ending(self, span: Span) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the END of a sampled span. Never raises, and waits as little as `on_start`."""
        self._offer(END, span)

    def _offer(self, phase: Phase, span: ReadableSpan) -> None:
        try:
            context = span.get_span_context()
            if context is None or not context.trace_flags & _SAMPLED:
                return  # RECORD_ONLY, which still comes here
            if self._selection is not None and not self._selected(self._selection, phase, _key(context), span):
                return
            # Others may change what is seen as soon as we return; all else can be read in a thread of ours.
            make = ConcurrentBatchSpanProcessor._record  # not bound: one object less that is kept for a while
            self._pipeline.offer((make, self, phase, context, span, span.name, attributes_of(span), links_of(span)))
        except Exception:
            self._complain()

    def _selected(self, selection: Selection, phase: Phase, key: SpanKey, span: ReadableSpan) -> bool:
        if phase is START:
            selection.started(key, span)
        return selection.is_exported(key) and (phase is END or self._sends_starts)

    def _record(self, phase: Phase, context: SpanContext, span: ReadableSpan, *seen: Any) -> Record | None:
        try:
            key = _key(context)
            record = Record(phase, key, span, cast(Seen, seen))
            if self._selection is not None:
                record.ancestor = self._selection.ancestor(key)
            if self._refreshes_starts and phase is START:
                record.started = span
            return record
        except Exception:
            self._complain()
            return None

    def _complain(self) -> None:
        if not self._complained:
            self._complained = True
            say(logging.ERROR, "A span could not be queued; this is said once", traceback=True)

    def flush(self, timeout_millis: float = 30_000) -> FlushResult:
        """Send everything now, wait at most `timeout_millis`, and say what became of it."""
        return self._pipeline.flush(_seconds(timeout_millis))

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """`flush`, as the SDK calls it: False when something is still pending or was lost."""
        return self.flush(30_000 if timeout_millis is None else timeout_millis).complete

    def shutdown(self, timeout_millis: float = 30_000) -> None:
        """Deliver what is left, for at most `timeout_millis`, and stop; gives up after 5 s without any delivery."""
        thread = threading.get_ident()
        if thread in self._in_shutdown:
            return  # a signal handler has interrupted this very call
        try:
            self._in_shutdown.add(thread)
            self._pipeline.close(_seconds(timeout_millis))
            self._exporter.shutdown()
        finally:
            self._in_shutdown.discard(thread)

    def stats(self) -> Stats:
        """The counts at this moment."""
        return self._pipeline.stats()

    def __repr__(self) -> str:
        return f"<ConcurrentBatchSpanProcessor {self._pipeline!r}>"


def _key(context: SpanContext) -> SpanKey:
    return context.trace_id, context.span_id


def _seconds(timeout_millis: float) -> float:
    """Of any number somebody may pass: less than nothing, and NaN, are no time at all."""
    return min(timeout_millis, FOR_EVER_MILLIS) / 1000 if timeout_millis > 0 else 0.0
