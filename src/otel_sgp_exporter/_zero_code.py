"""Zero-code set-up: exporter and propagator named `sgp`, and what the hook of the loader does where they are wanted."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from . import _attach
from ._config import EXPORTER_SETTINGS, PROCESSOR_SETTINGS, Setting, resolve
from ._configure import configure
from ._propagator import SGPPropagator

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from ._processor import ConcurrentBatchSpanProcessor

_logger = logging.getLogger(__package__)

_NAME = "sgp"
_CONFIG_FILE = Setting("config_file", ("OTEL_CONFIG_FILE",), "", str, "Declarative set-up, instead of variables.")


class AutoSGPSpanExporter(SpanExporter):
    """What `sgp` in OTEL_TRACES_EXPORTER stands for: a placeholder that adds our processor to the global provider.

    The SDK knows exporters by name but no processors, and wraps this in its stock one, which sends ENDs only. So the
    work is done by ours, and this exports only what ours did not see. It never raises: that would cost the user every
    other exporter as well.
    """

    was_built = False
    """Whether the SDK made one in this process."""

    def __init__(self, **options: Any) -> None:
        AutoSGPSpanExporter.was_built = True
        self._options = options
        self._processor: ConcurrentBatchSpanProcessor | None = None
        self._gave_up = False
        self._sees_since_ns = 0  # no span can have ended yet
        self._ends: SpanExporter | None = None
        _attach.wait(self)
        self._try_to_attach()

    def attach(self, resource: Resource | None = None) -> None:
        """Add our processor to the global provider, if there is one by now, and with that `resource`."""
        if self._processor is None and not self._gave_up:
            self._try_to_attach(resource)
            # Afterwards: a span that ended a moment before may have been missed, and one too many is harmless.
            self._sees_since_ns = time.time_ns()

    def _try_to_attach(self, resource: Resource | None = None) -> None:
        with _attach.lock:
            try:
                if self._processor is None and not self._gave_up:  # nor has another thread come first
                    self._attach(resource)
            except Exception as error:
                self._give_up(error)

    def _attach(self, resource: Resource | None) -> None:
        if _attach.is_disabled():
            self._gave_up = True
            return
        provider: Any = trace.get_tracer_provider()
        if not hasattr(provider, "add_span_processor"):
            return  # the API's own: somebody builds exporters first and sets the provider later
        if resource is not None and provider.resource is not resource:
            return
        settings = _checked(self._options)
        if settings:  # each `sgp` of a configuration file is one of its own
            self._processor = _attach.attach(provider, _attach.built(settings), settings)
        else:
            self._processor = _attach.joined(provider, settings)
        self._provider, self._resource = provider, provider.resource

    def _give_up(self, error: Exception) -> None:
        self._gave_up = True
        _logger.error("SGP gets no spans: %s", error)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the ENDs of those spans that our processor did not see; normally none."""
        if spans:
            self.attach(spans[0].resource)
        if self._gave_up:
            return SpanExportResult.SUCCESS
        missed = [span for span in spans if not self._is_handled(span)]
        return self._export_ends(missed) if missed else SpanExportResult.SUCCESS

    def _is_handled(self, span: ReadableSpan) -> bool:
        # The provider's resource is asked for again, since newer SDKs replace it in a forked child.
        return (
            self._processor is not None
            and (span.end_time or 0) >= self._sees_since_ns
            and (span.resource is self._resource or span.resource is self._provider.resource)
        )

    def _export_ends(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        from ._exporter import SGPSpanExporter

        try:
            if self._ends is None:
                self._ends = SGPSpanExporter(**_attach.accepted(SGPSpanExporter, _checked(self._options)))
            return self._ends.export(spans)
        except Exception as error:
            self._give_up(error)
            return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Our processor is shut down by its provider; this ends what exported beside it."""
        if self._ends is not None:
            self._ends.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return True


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a mapping of a configuration file."""
    known = {setting.argument for setting in (*EXPORTER_SETTINGS, *PROCESSOR_SETTINGS)}
    if unknown := sorted(options.keys() - known):
        _attach.say_once(f"Ignored, since 'sgp' has no such setting: {', '.join(unknown)}")
    given = {name: value for name, value in options.items() if name in known and value is not None}
    if given.get("start_delay_millis") is False:
        given["start_delay_millis"] = "off"  # which YAML reads as a boolean
    return given


def finish(wanted: Sequence[str]) -> None:
    """What distro and configurators left undone. `wanted`: the names in OTEL_TRACES_EXPORTER."""
    _attach.attach_waiting()
    if AutoSGPSpanExporter.was_built:
        _attach.mark_requests()  # what came after the exporter may have set other propagators
    elif _NAME in wanted:
        _set_up(wanted)
    elif _NAME in map(str.lower, wanted):
        _attach.say_once("SGP gets no spans: in OTEL_TRACES_EXPORTER it is called sgp, in small letters")


def _set_up(wanted: Sequence[str]) -> None:
    """What nobody else did."""
    if not resolve(_CONFIG_FILE).value:
        if configure() is not None:
            _explain(wanted)
    elif isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        _attach.say_once("SGP gets no spans: nothing here reads OTEL_CONFIG_FILE; install opentelemetry-distro")


def _explain(wanted: Sequence[str]) -> None:
    others = [name for name in wanted if name not in (_NAME, "none", "")]
    if others:
        _logger.warning(
            "Only sgp is set up, not %s: nothing here reads OTEL_TRACES_EXPORTER; install opentelemetry-distro",
            ", ".join(others),
        )


def propagator() -> SGPPropagator:
    """What `sgp` in OTEL_PROPAGATORS stands for."""
    return SGPPropagator(_attach.exported_id)
