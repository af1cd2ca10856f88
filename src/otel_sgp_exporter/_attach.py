"""Which tracer provider has a processor of ours, and how one gets it: shared by `configure()` and zero-code set-up.

Loaded into every process that `opentelemetry-instrument` starts, so it imports no engine and no HTTP client.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from . import _propagator
from ._config import Setting, resolve
from ._joined import PARENT

if TYPE_CHECKING:
    from ._processor import ConcurrentBatchSpanProcessor

_logger = logging.getLogger(__package__)

_SDK_DISABLED = Setting("sdk_disabled", ("OTEL_SDK_DISABLED",), "", str, "OpenTelemetry is off altogether.")
_NATIVE_DISABLED = Setting("disabled", ("DISABLE_SCALE_TRACING",), "", str, "The native client's switch.")


class Waiting(Protocol):
    """What wants to add a processor as soon as there is a global provider."""

    def attach(self) -> None:
        """Try now. Never raises."""


class _Attached(NamedTuple):
    provider: weakref.ref[Any]  # and a list, not a weak dictionary: some vendors' providers cannot be hashed
    processor: ConcurrentBatchSpanProcessor
    settings: Mapping[str, Any]


lock = threading.RLock()
"""Held by whoever looks for a processor in order to add one."""

_attached: list[_Attached] = []
_waiting: weakref.WeakSet[Waiting] = weakref.WeakSet()
_said: set[str] = set()


def wait(waiting: Waiting) -> None:
    """Remember `waiting` for as long as it lives."""
    _waiting.add(waiting)


def attach_waiting() -> None:
    """Whoever waits may try again."""
    for waiting in list(_waiting):
        waiting.attach()


def joined(provider: Any, settings: Mapping[str, Any]) -> ConcurrentBatchSpanProcessor:
    """The processor of ours on `provider`, attached now unless there is one."""
    before = [attached for attached in _attached if attached.provider() is provider]
    for attached in before:
        if not _is_closed(attached.processor):
            if settings and settings != attached.settings:
                _logger.warning("SGP is set up already; ignored settings: %s", ", ".join(settings))
            mark_requests()
            return attached.processor
    if before:
        # Some vendors set up anew in the same provider; one that was itself shut down will not flush ours at exit.
        _logger.warning("The processor for SGP was shut down; another one is added, which delivers at exit by itself")
    return attach(provider, built(settings), settings)


def attach(
    provider: Any, processor: ConcurrentBatchSpanProcessor, settings: Mapping[str, Any]
) -> ConcurrentBatchSpanProcessor:
    """Add `processor`, whatever else `provider` has."""
    if isinstance(provider, TracerProvider):
        # The SDK's own method: some vendors override it to throw out what was there before.
        TracerProvider.add_span_processor(provider, processor)
    else:
        provider.add_span_processor(processor)
    _attached[:] = [attached for attached in _attached if attached.provider() is not None]
    _attached.append(_Attached(weakref.ref(provider), processor, dict(settings)))
    mark_requests()
    return processor


def built(settings: Mapping[str, Any]) -> ConcurrentBatchSpanProcessor:
    """A processor with its exporter. Raises ValueError that names the setting."""
    from ._exporter import SGPSpanExporter

    exporter = SGPSpanExporter(**accepted(SGPSpanExporter, settings))
    # Not before the exporter: `exported_id` takes this import for a sign that somebody has one.
    from ._processor import ConcurrentBatchSpanProcessor

    return ConcurrentBatchSpanProcessor(exporter, **accepted(ConcurrentBatchSpanProcessor, settings))


def accepted(by: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `settings` that `by` takes."""
    parameters = inspect.signature(by).parameters
    return {name: value for name, value in settings.items() if name in parameters}


def _is_closed(processor: ConcurrentBatchSpanProcessor) -> bool:
    return processor._pipeline._state.closed


def switched_off() -> str:
    """The variable by which the user switched tracing off, for OpenTelemetry or for SGP; empty when none did."""
    if str(resolve(_SDK_DISABLED).value).lower() == "true":
        return "OTEL_SDK_DISABLED"
    return "DISABLE_SCALE_TRACING" if resolve(_NATIVE_DISABLED).value else ""  # whatever it says: so the native client


def is_disabled() -> bool:
    """Whether tracing is switched off; says so where it is SGP alone."""
    variable = switched_off()
    if variable == "DISABLE_SCALE_TRACING":
        say_once(f"SGP gets no spans: {variable} is set")
    return bool(variable)


def say_once(text: str) -> None:
    """Warn, the first time."""
    if text not in _said:
        _said.add(text)
        _logger.warning("%s", text)


def mark_requests() -> None:
    """Have outgoing requests marked in `tracestate` if any are exported. Never raises: the spans come first."""
    if not _attached:
        return
    try:
        _propagator.install(exported_id)
    except Exception as error:
        say_once(f"Outgoing requests are not marked for SGP: {error}")


def exported_id(span: trace.Span) -> int:
    """The id of `span`, which is sampled, or of its nearest ancestor that is exported; 0 for none."""
    where = span.get_span_context()
    if not _attached:  # set up by hand, if at all
        return where.span_id if f"{__package__}._processor" in sys.modules else 0
    resource = getattr(span, "resource", None)
    for attached in _attached:
        if resource is not None and getattr(attached.provider(), "resource", None) is resource:
            selection = attached.processor._selection
            nearest = selection.nearest((where.trace_id, where.span_id)) if selection else where.span_id
            # Above one that is left out and had joined a trace stands a span without W3C id, which no mark can name.
            return 0 if nearest != where.span_id and PARENT in getattr(span, "attributes", ()) else nearest
    return 0


def _start_over() -> None:
    global lock
    lock = threading.RLock()  # the thread that held the parent's did not come along


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)
