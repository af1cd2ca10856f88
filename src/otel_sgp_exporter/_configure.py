"""`configure()`: one line that sends the spans of this process to SGP, beside whatever else they are sent to."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from . import _attach
from ._config import UNSET, Unset

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource

    from ._processor import ConcurrentBatchSpanProcessor
    from ._selection import SpanFilter
    from ._wire import Redactor

_logger = logging.getLogger(__package__)


def configure(
    *,
    resource: Resource | Mapping[str, Any] | None = None,
    tracer_provider: trace.TracerProvider | None = None,
    endpoint: str | None = None,
    api_key: str | Callable[[], str] | None = None,
    account_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_millis: float | None = None,
    max_request_bytes: int | None = None,
    compression: str | None = None,
    hide_inputs: bool | None = None,
    hide_outputs: bool | None = None,
    remote_parent: str | None = None,
    redact: Redactor | None = None,
    export_timeout_millis: float | None = None,
    max_queue_size: int | None = None,
    schedule_delay_millis: float | None = None,
    max_export_batch_size: int | None = None,
    max_concurrent_exports: int | None = None,
    max_queue_bytes: int | None = None,
    start_delay_millis: float | str | Unset | None = UNSET,
    cancel_open_spans: bool | None = None,
    spool: str | os.PathLike[str] | None = None,
    span_filter: SpanFilter | None = None,
    meter_provider: MeterProvider | None = None,
) -> ConcurrentBatchSpanProcessor | None:
    """Send the spans of this process to SGP, beside whatever else they are sent to.

    Joins the tracer provider that there is, or makes one, which honours the variables of resource, sampler and limits.
    Call it after the set-up of other vendors. Calling it again, or after zero-code set-up, changes nothing.

    Args:
        resource: Of a provider that is made here; wins over the variables, key by key.
        tracer_provider: Join this one, and leave the global one alone.

    The other arguments are those of `SGPSpanExporter` and `ConcurrentBatchSpanProcessor`.

    Returns:
        The processor, or None where tracing is switched off or the provider takes no processors.

    Raises:
        ValueError: An argument is wrong, or there is no API key or account; the text names it.
    """
    settings = _given(locals())
    if _attach.is_disabled():
        return None
    with _attach.lock:
        provider = trace.get_tracer_provider() if tracer_provider is None else tracer_provider
        if isinstance(provider, trace.ProxyTracerProvider):  # nobody has set one
            ours = _resource(resource)
            processor = _attach.built(settings)  # first, so that a wrong argument leaves everything as it was
            return _attach.attach(_new_provider(ours), processor, settings)
        if resource is not None:
            _logger.warning("resource= is ignored: there is a tracer provider already")
        if not hasattr(provider, "add_span_processor"):
            _logger.warning("SGP gets no spans: %s takes no span processors", type(provider).__qualname__)
            return None
        if tracer_provider is None:
            _attach.attach_waiting()
        return _attach.joined(provider, settings)


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that someone chose. Of None only the start delay has a meaning, which is "off"."""
    return {
        name: value
        for name, value in arguments.items()
        if name not in ("resource", "tracer_provider")
        and value is not UNSET
        and (value is not None or name == "start_delay_millis")
    }


def _resource(given: Resource | Mapping[str, Any] | None) -> Resource:
    """The variables', and over them what was given."""
    from opentelemetry.sdk.resources import Resource

    if not isinstance(given, Resource | Mapping | None):
        raise ValueError("resource must be a Resource or a mapping.")
    return Resource.create().merge(given if isinstance(given, Resource) else Resource(dict(given or {})))


def _new_provider(resource: Resource) -> trace.TracerProvider:
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider(resource=resource))
    return trace.get_tracer_provider()  # another thread may have been first
