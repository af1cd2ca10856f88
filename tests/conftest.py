"""Fixtures for all tests: a clean environment, a server, a processor that is shut down afterwards."""

import os
from collections.abc import Callable, Iterator

import hypothesis
import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import StubServer, settings

hypothesis.settings.register_profile("shared machines", deadline=None)
hypothesis.settings.load_profile("shared machines")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine happens to have set decides nothing."""
    for variable in os.environ:
        if variable.startswith(("OTEL_", "SGP_")) or variable.lower().endswith("_proxy"):
            monkeypatch.delenv(variable)


@pytest.fixture
def server() -> Iterator[StubServer]:
    """A server that takes everything at once."""
    with StubServer() as stub:
        yield stub


@pytest.fixture
def traced() -> Iterator[Callable[..., tuple[TracerProvider, ConcurrentBatchSpanProcessor]]]:
    """Makes a provider with a processor of ours that sends to a URL; shut down after the test."""
    processors: list[ConcurrentBatchSpanProcessor] = []

    def make(url: str, *args: object, **options: object) -> tuple[TracerProvider, ConcurrentBatchSpanProcessor]:
        processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(url)), *args, **options)  # type: ignore[arg-type]
        processors.append(processor)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        return provider, processor

    yield make
    for processor in processors:
        processor.shutdown(1000)


@pytest.fixture
def exporter_to() -> Iterator[Callable[..., SGPSpanExporter]]:
    """Makes an exporter that sends to a URL; shut down after the test."""
    exporters: list[SGPSpanExporter] = []

    def make(url: str, **options: object) -> SGPSpanExporter:
        exporters.append(SGPSpanExporter(**{**settings(url), **options}))
        return exporters[-1]

    yield make
    for exporter in exporters:
        exporter.shutdown()
