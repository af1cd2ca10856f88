"""What is compared: each way of getting spans to a backend, behind one small interface.

All make the same span: a chat call with a number in its name and, in most workloads, a prompt.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Protocol
from uuid import uuid4

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, set_span_in_context
from stub_records import NAME

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter

CALL = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "stand-in-1"}
PROMPT = "gen_ai.input.messages"


def prompt(number: int, size: int) -> str:
    """Messages of about `size` bytes, in OpenTelemetry's form; no two are the same object, or equal."""
    return messages(f"{number}: " + "The quick brown fox jumps over the lazy dog. " * (size // 45))


def messages(text: str) -> str:
    """What a user said, which must not hold what JSON escapes."""
    return '[{"role":"user","parts":[{"type":"text","content":"' + text + '"}]}]'


class Driver(Protocol):
    """One way of exporting. `start` and `end` are the application's calls."""

    def start(self, number: int, payload: str = "", parent: Any = None) -> Any:
        """Start the span with this number and prompt."""

    def end(self, span: Any) -> None:
        """End it."""

    def pending(self) -> int:
        """Records, or spans where only ENDs are sent, that wait in memory; in flight as well where that is known."""

    def flush(self) -> None:
        """Send everything now."""

    def stop(self, seconds: float) -> None:
        """Send what can be sent in that time."""


class Bare:
    """A provider without a processor: what making the spans costs, whoever exports them."""

    def __init__(self, url: str = "", **options: Any) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self._tracer = self.provider.get_tracer("benchmark")

    def start(self, number: int, payload: str = "", parent: Span | None = None) -> Span:
        attributes = {**CALL, PROMPT: payload} if payload else CALL
        context = None if parent is None else set_span_in_context(parent)
        return self._tracer.start_span(NAME % number, context, attributes=attributes)

    def end(self, span: Span) -> None:
        span.end()

    def pending(self) -> int:
        return 0

    def flush(self) -> None:
        self.provider.force_flush()

    def stop(self, seconds: float) -> None:
        self.provider.shutdown()


class Ours(Bare):
    """`ConcurrentBatchSpanProcessor`; the options are its settings."""

    def __init__(self, url: str, *, compression: str | None = None, **options: Any) -> None:
        super().__init__()
        exporter = SGPSpanExporter(endpoint=url, api_key="k", account_id="a", compression=compression)
        self.processor = ConcurrentBatchSpanProcessor(exporter, **options)
        self.provider.add_span_processor(self.processor)

    def pending(self) -> int:
        return self.processor.stats().pending

    def stop(self, seconds: float) -> None:
        self.processor.shutdown(seconds * 1000)


class Stock(Bare):
    """The SDK's own `BatchSpanProcessor` over an exporter; the options are the processor's."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__()
        self.processor: SpanProcessor = BatchSpanProcessor(self.exporter(url), **options)
        self.provider.add_span_processor(self.processor)

    def exporter(self, url: str) -> Any:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=f"{url}/v1/traces")

    def pending(self) -> int:
        return len(self.processor._batch_processor._queue)  # type: ignore[attr-defined]

    def stop(self, seconds: float) -> None:
        self.processor._batch_processor.shutdown(seconds * 1000)  # type: ignore[attr-defined]


class Naive(Stock):
    """The same over the exporter that a user would write."""

    def exporter(self, url: str) -> Any:
        from naive_exporter import NaiveExporter

        return NaiveExporter(url)


class ScaleGp:
    """`scale_gp_beta.lib.tracing`, which is not OpenTelemetry: its calls make the span as well."""

    def __init__(self, url: str, **options: Any) -> None:
        from scale_gp_beta import SGPClient
        from scale_gp_beta.lib import tracing

        tracing.init(SGPClient(api_key="k", account_id="a", base_url=url))
        self._create = tracing.create_span
        self._manager = tracing.trace_queue_manager.tracing_queue_manager()  # type: ignore[attr-defined]

    def start(self, number: int, payload: str = "", parent: Any = None) -> Any:
        span = self._create(
            NAME % number,
            "COMPLETION",
            input={"messages": payload} if payload else None,
            metadata=dict(CALL),
            trace_id=parent.trace_id if parent else uuid4().hex,
            parent_id=parent.span_id if parent else None,
        )
        span.start()
        return span

    def end(self, span: Any) -> None:
        span.end()

    def pending(self) -> int:
        return self._manager._queue.qsize()

    def flush(self) -> None:
        self._manager.flush_queue()

    def stop(self, seconds: float) -> None:
        self._manager.shutdown(seconds)


class AsyncQueue:
    """The model of upstream's queue; `async_queue.py` says what it is."""

    def __init__(self, url: str, **options: Any) -> None:
        import async_queue

        self._queue = async_queue.AsyncQueue(url)

    def start(self, number: int, payload: str = "", parent: Any = None) -> dict[str, Any]:
        span = {
            "name": NAME % number,
            "id": uuid4().hex,
            "trace_id": parent["trace_id"] if parent else uuid4().hex,
            "start_timestamp": datetime.now(timezone.utc).isoformat(),
            "input": {"messages": payload},
            "metadata": dict(CALL),
            "type": "COMPLETION",
            **({"parent_id": parent["id"]} if parent else {}),
        }
        self._queue.put(deepcopy(span))
        return span

    def end(self, span: dict[str, Any]) -> None:
        span["end_timestamp"] = datetime.now(timezone.utc).isoformat()
        self._queue.put(deepcopy(span))

    def pending(self) -> int:
        return self._queue.pending

    def flush(self) -> None:
        self.stop(60)

    def stop(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._queue.pending and time.monotonic() < deadline:
            time.sleep(0.01)


OURS, OTLP, NAIVE, SCALE_GP, ASYNC = "ours", "stock + OTLP/HTTP", "stock + 30 lines", "scale-gp-beta", "asyncio queue*"
OURS_ENDS_ONLY = "ours, END only"
DRIVERS: dict[str, Callable[..., Driver]] = {
    OURS: Ours,
    OTLP: Stock,
    NAIVE: Naive,
    SCALE_GP: ScaleGp,
    ASYNC: AsyncQueue,
    "bare provider": Bare,
}
SENDS = {OURS: "START, END", OTLP: "END", NAIVE: "END", SCALE_GP: "START, END", ASYNC: "START, END"}
IN_FLIGHT = {OURS: 8, OTLP: 1, NAIVE: 1, SCALE_GP: 1, ASYNC: 3}
PACKAGES = (
    "otel-sgp-exporter",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-http",
    "scale-gp-beta",
    "httpx",
    "httpcore",
    "orjson",
    "requests",
)
_NEEDS = {OTLP: "opentelemetry.exporter.otlp.proto.http", SCALE_GP: "scale_gp_beta", ASYNC: "scale_gp_beta"}


def available(name: str) -> bool:
    """Whether what the driver needs is installed."""
    try:
        return name not in _NEEDS or find_spec(_NEEDS[name]) is not None
    except ModuleNotFoundError:
        return False


def versions() -> dict[str, str]:
    """Of what is compared, as installed."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
