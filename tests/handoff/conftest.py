"""Processes, as far as the exporter can tell: providers that share nothing, before one local SGP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

pytest.importorskip("uvicorn", reason="needs the server extra")

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter, _attach
from otel_sgp_exporter._state import State
from otel_sgp_exporter.devserver import DevServer
from support import settings


class Process(NamedTuple):
    """One side of a hand-over."""

    provider: TracerProvider
    processor: ConcurrentBatchSpanProcessor
    beside: InMemorySpanExporter
    """What another exporter of the same provider got."""

    @property
    def tracer(self) -> Tracer:
        return self.provider.get_tracer("expenses", "1.2")

    @property
    def state(self) -> State:
        return self.processor._pipeline._state

    def flush(self) -> None:
        """A START that is not flushed may land on the END of another process, and stay there until that is repeated."""
        assert self.processor.flush(20_000).complete


@pytest.fixture(params=["legacy", "tracing-pg"])
def sgp(request: pytest.FixtureRequest) -> Iterator[DevServer]:
    """A local SGP with strict parents; legacy looks for them outside the batch, too, and the last write wins there."""
    with DevServer(profile=request.param) as server:
        yield server
        assert 409 not in server.stats()["statuses"]


@pytest.fixture
def process(sgp: DevServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Process]]:
    """Makes a process of that name."""
    monkeypatch.setattr(_attach, "_attached", [])
    monkeypatch.setattr(_attach, "mark_requests", lambda: None)  # it would change the global propagator
    made: list[Process] = []

    def make(name: str = "one", *, url: str = sgp.url, sampler: Any = None, **options: Any) -> Process:
        processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(url)), **options)
        provider = TracerProvider(sampler, Resource({"service.name": name}), shutdown_on_exit=False)
        _attach.attach(provider, processor, {})
        beside = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(beside))
        made.append(Process(provider, processor, beside))
        return made[-1]

    yield make
    for each in made:
        each.processor.shutdown(1)  # waits for no END that is to be repeated
        each.provider.shutdown()


def rows(server: DevServer) -> dict[str, dict[str, Any]]:
    """The rows by name; there are never two of one."""
    spans = server.spans()
    by_name = {span["name"]: span for span in spans}
    assert len(by_name) == len(spans)
    return by_name
