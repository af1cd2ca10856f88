"""`configure()`: one line, whatever is there already."""

from __future__ import annotations

import base64
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import propagate, trace
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.util._once import Once

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter, _attach, _environment
from otel_sgp_exporter._config import EXPORTER_SETTINGS, PROCESSOR_SETTINGS
from otel_sgp_exporter._configure import configure
from support import StubServer, settings, upserts

Configure = Callable[..., ConcurrentBatchSpanProcessor]
READ = {variable for setting in (*EXPORTER_SETTINGS, *PROCESSOR_SETTINGS) for variable in setting.variables}


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process in which nobody has set anything up."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(_attach, "_attached", [])
    monkeypatch.setattr(_attach, "_said", set())
    there = propagate.get_global_textmap()
    yield
    propagate.set_global_textmap(there)
    shutdown = getattr(trace._TRACER_PROVIDER, "shutdown", None)
    if shutdown is not None:
        shutdown()


@pytest.fixture
def configured(fresh: None, server: StubServer) -> Iterator[Configure]:
    """`configure()` that sends to the server, for whatever else it is told."""
    processors = []

    def make(**options: Any) -> ConcurrentBatchSpanProcessor:
        processor = configure(**{**settings(server.url), **options})
        assert processor is not None
        processors.append(processor)
        return processor

    yield make
    for processor in processors:
        processor.shutdown(1000)


def two_spans(provider: trace.TracerProvider | None = None) -> None:
    tracer = trace.get_tracer("t", tracer_provider=provider)
    with tracer.start_as_current_span("parent"), tracer.start_as_current_span("child"):
        pass


BOTH = [["start", "end"], ["start", "end"]]


def arrived(server: StubServer) -> list[list[str]]:
    return list(upserts(server.items).values())


def test_it_makes_a_provider_and_tracers_taken_earlier_work(configured: Configure, server: StubServer) -> None:
    """The order of imports decides nothing."""
    earlier = trace.get_tracer("taken before")
    processor = configured()
    with earlier.start_as_current_span("parent"), earlier.start_as_current_span("child"):
        pass
    assert processor.force_flush()
    assert arrived(server) == BOTH


def test_it_joins_the_provider_that_there_is(
    configured: Configure, server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The other vendor keeps its provider and its spans; a resource for a new one is pointed out."""
    there = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(there)
    processor = configured(resource={"service.name": "mine"})
    two_spans()
    assert processor.force_flush()
    assert (trace.get_tracer_provider(), arrived(server)) == (there, BOTH)
    assert caplog.messages == ["resource= is ignored: there is a tracer provider already"]


def test_twice_is_once(configured: Configure, server: StubServer, caplog: pytest.LogCaptureFixture) -> None:
    """The same processor; only other settings are worth a word, without their values."""
    first = configured()
    assert configured() is first
    assert configure() is first
    assert caplog.messages == []
    assert configured(api_key="another") is first
    assert caplog.messages == ["SGP is set up already; ignored settings: endpoint, api_key, account_id"]
    two_spans()
    assert first.force_flush()
    assert arrived(server) == BOTH


def test_threads_that_configure_at_once_get_one_processor(configured: Configure, server: StubServer) -> None:
    """A web framework's workers may all run the same start-up code."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(configured())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    two_spans()
    assert found[0].force_flush()
    assert arrived(server) == BOTH


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_configures(server: StubServer) -> None:
    """The child, which lacks that thread, can still be configured."""
    script = f"""
import os, threading
from otel_sgp_exporter import _attach, configure

def configuring():
    with _attach.lock:
        held.set()
        forked.wait()

held, forked = threading.Event(), threading.Event()
thread = threading.Thread(target=configuring)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    configure(**{settings(server.url)!r}).shutdown()
    os._exit(7)
forked.set()
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=30)


def test_one_provider_of_several(configured: Configure, server: StubServer) -> None:
    """`tracer_provider=` joins that one; each provider has a processor of its own; the global one is not touched."""
    providers = [TracerProvider(shutdown_on_exit=False) for _ in range(2)]
    first, second = (configured(tracer_provider=provider) for provider in providers)
    assert first is not second
    assert configured(tracer_provider=providers[1]) is second
    two_spans(providers[0])
    assert first.force_flush()
    assert arrived(server) == BOTH
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@pytest.mark.parametrize("value", ["true", "TRUE", " True "])
@pytest.mark.usefixtures("fresh")
def test_opentelemetry_switched_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """No provider, no threads, no error about credentials."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    threads = {*threading.enumerate()}
    assert configure() is None
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert {*threading.enumerate()} <= threads


@pytest.mark.usefixtures("fresh")
def test_the_native_client_s_switch(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it says, as the native client reads it; said once."""
    monkeypatch.setenv("DISABLE_SCALE_TRACING", "false")
    assert configure() is None
    assert configure() is None
    assert caplog.messages == ["SGP gets no spans: DISABLE_SCALE_TRACING is set"]


def test_a_blank_switch_is_no_switch(monkeypatch: pytest.MonkeyPatch, configured: Configure) -> None:
    """Deployments set variables to nothing in order to unset them."""
    monkeypatch.setenv("DISABLE_SCALE_TRACING", " ")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "")
    assert configured() is not None


@pytest.mark.usefixtures("fresh")
def test_a_provider_that_takes_no_processors(caplog: pytest.LogCaptureFixture) -> None:
    """Such as the API's own that does nothing, or another tracer's."""
    trace.set_tracer_provider(trace.NoOpTracerProvider())
    assert configure(api_key="k", account_id="a") is None
    assert caplog.messages == ["SGP gets no spans: NoOpTracerProvider takes no span processors"]


def test_a_provider_that_was_shut_down(
    configured: Configure, server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing will flush it, so that is said; the spans come all the same."""
    first = configured()
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    provider.shutdown()
    second = configured()
    assert second is not first
    assert "was shut down" in caplog.text
    two_spans()
    assert second.force_flush()
    assert arrived(server) == BOTH


def test_resource_variables_and_argument(monkeypatch: pytest.MonkeyPatch, configured: Configure) -> None:
    """The argument wins, key by key."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-variable")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "a=variable,b=variable")
    configured(resource=Resource({"b": "argument", "c": "argument"}))
    attributes = trace.get_tracer_provider().resource.attributes  # type: ignore[attr-defined]
    assert {key: attributes[key] for key in ("service.name", "a", "b", "c")} == {
        "service.name": "from-variable",
        "a": "variable",
        "b": "argument",
        "c": "argument",
    }


def test_the_sampler_variable(monkeypatch: pytest.MonkeyPatch, configured: Configure, server: StubServer) -> None:
    """The provider that is made here is the SDK's, with all that it reads."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    processor = configured()
    two_spans()
    assert processor.force_flush()
    assert arrived(server) == []


def test_settings_reach_exporter_and_processor(configured: Configure, server: StubServer) -> None:
    """START off, and a redactor."""
    processor = configured(
        start_delay_millis="off", redact=lambda item: {**item, "name": "redacted"}, remote_parent="link"
    )
    two_spans()
    assert processor.force_flush()
    assert arrived(server) == [["end"], ["end"]]
    assert {item["name"] for item in server.items} == {"redacted"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "api_key"),
        ({"api_key": "k"}, "account_id"),
        *(
            ({**settings("http://x"), name: value}, name)
            for name, value in {
                "timeout_millis": -1,
                "resource": "service",
                "headers": 5,
                "spool": 5,
                "redact": "all",
                "span_filter": "all",
            }.items()
        ),
    ],
    ids=str,
)
@pytest.mark.usefixtures("fresh")
def test_what_is_wrong_raises_and_leaves_everything_as_it_was(options: dict[str, Any], named: str) -> None:
    """A missing key, a wrong argument, one of a wrong type: it is named, and there is no half set-up."""
    threads = {*threading.enumerate()}
    with pytest.raises(ValueError, match=named):
        configure(**options)
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert _attach._attached == []
    assert {*threading.enumerate()} <= threads


def test_a_proxy_that_wants_a_name_gets_it(
    monkeypatch: pytest.MonkeyPatch, configured: Configure, server: StubServer
) -> None:
    """From its URL, where special characters are escaped."""
    monkeypatch.setenv("HTTP_PROXY", server.url.replace("//", "//name:pass%40w%C3%B6rd@"))
    processor = configured(endpoint="http://sgp.example")
    two_spans()
    assert processor.force_flush()
    assert arrived(server) == BOTH
    sent = {header.lower(): value for header, value in server.requests[0].headers.items()}
    assert base64.b64decode(sent["proxy-authorization"].removeprefix("Basic ")).decode() == "name:pass@wörd"
    assert (server.requests[0].path, sent["host"]) == ("http://sgp.example/v5/spans/batch", "sgp.example")


@pytest.mark.parametrize("proxy", ["ftp://user:hush@proxy:1", "http://user:hush@proxy:port"])
def test_a_proxy_that_is_none_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
    configured: Configure,
    server: StubServer,
    caplog: pytest.LogCaptureFixture,
    proxy: str,
) -> None:
    """As every wrong variable: said, without the password in it, and the program runs on."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    processor = configured()
    assert caplog.messages == ["The proxy for http is ignored: it must be an http://, https:// or socks5:// URL"]
    two_spans()
    assert processor.force_flush()
    assert arrived(server) == BOTH


def test_certificates_that_are_not_there_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, configured: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    """The usual ones are used, which may be all that is needed."""
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such.pem")
    configured(endpoint="https://127.0.0.1:9")
    assert caplog.messages == ["SSL_CERT_FILE and SSL_CERT_DIR are ignored: [Errno 2] No such file or directory"]


class Empty(TracerProvider):
    """A provider that is false, as everything with a length of 0 is."""

    def __len__(self) -> int:
        return 0


def test_a_provider_that_is_false_is_one(configured: Configure, server: StubServer) -> None:
    """`tracer_provider=` joins what was passed, whatever Python thinks of its truth."""
    provider = Empty(shutdown_on_exit=False)
    processor = configured(tracer_provider=provider)
    two_spans(provider)
    assert processor.force_flush()
    assert arrived(server) == BOTH


def test_somebody_sets_a_provider_later(
    configured: Configure, server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenTelemetry refuses it with a warning, and ours stays."""
    processor = configured()
    trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    assert caplog.messages == ["Overriding of current TracerProvider is not allowed"]
    two_spans()
    assert processor.force_flush()
    assert arrived(server) == BOTH


def test_a_second_processor_by_hand_costs_only_traffic(configured: Configure, server: StubServer) -> None:
    """Nobody can know that the two send the same; SGP replaces a row by its like."""
    processor = configured()
    by_hand = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(server.url)))
    trace.get_tracer_provider().add_span_processor(by_hand)  # type: ignore[attr-defined]
    two_spans()
    assert processor.force_flush()
    assert by_hand.force_flush()
    assert sorted(map(sorted, arrived(server))) == [["end", "end", "start", "start"]] * 2


class ClearsDefaults(TracerProvider):
    """As Phoenix and Arize do: whoever adds a processor throws out the vendor's own."""

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        self._active_span_processor._span_processors = ()
        super().add_span_processor(span_processor)


class CannotBeHashed:
    """As Logfire's provider: not the SDK's, a data class, with the methods that count."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.inner = TracerProvider(shutdown_on_exit=False)

    def __eq__(self, other: object) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Remembers(SpanProcessor):
    def __init__(self) -> None:
        self.ended: list[str] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span.name)


@pytest.mark.parametrize("kind", [ClearsDefaults, CannotBeHashed])
def test_other_vendors_keep_their_spans(kind: Callable[[], Any], configured: Configure, server: StubServer) -> None:
    """What was on the provider stays there."""
    provider, theirs = kind(), Remembers()
    provider.add_span_processor(theirs)
    processor = configured(tracer_provider=provider)
    assert configured(tracer_provider=provider) is processor
    two_spans(provider)
    assert processor.force_flush()
    assert (theirs.ended, arrived(server)) == (["child", "parent"], BOTH)


def test_every_setting_is_an_argument() -> None:
    """Nothing that exporter or processor take is missing, and every variable has an argument."""
    taken = {
        name: parameter.default
        for of in (SGPSpanExporter, ConcurrentBatchSpanProcessor)
        for name, parameter in inspect.signature(of).parameters.items()
        if name != "span_exporter"
    }
    ours = {name: parameter.default for name, parameter in inspect.signature(configure).parameters.items()}
    assert {**taken, "resource": None, "tracer_provider": None} == ours
    assert {setting.argument for setting in (*EXPORTER_SETTINGS, *PROCESSOR_SETTINGS)} <= ours.keys()


def test_the_variables_that_the_loader_is_told_are_those_of_the_settings() -> None:
    """Under their own names, and none that is not ours."""
    named = {name: value for name, value in vars(_environment).items() if name.startswith("OTEL_")}
    assert {name: name for name in READ if name.startswith("OTEL_EXPORTER_SGP_")} == named


def test_of_others_variables_few_are_read() -> None:
    """Those that mean the same to us as to their owners."""
    bsp = ("SCHEDULE_DELAY", "MAX_EXPORT_BATCH_SIZE", "MAX_QUEUE_SIZE", "EXPORT_TIMEOUT")
    native = ("CLIENT_BASE_URL", "API_KEY", "ACCOUNT_ID", "CLIENT_CUSTOM_HEADERS")
    assert {name for name in READ if not name.startswith("OTEL_EXPORTER_SGP_")} == {
        *(f"OTEL_BSP_{name}" for name in bsp),
        *(f"SGP_{name}" for name in native),
    }


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("otel_sgp_exporter", ("opentelemetry.sdk", "httpx", "httpcore", "orjson")),
        ("otel_sgp_exporter._environment", ("opentelemetry", "httpx", "logging")),
        ("otel_sgp_exporter._hook", ("opentelemetry", "httpx", "httpcore", "orjson")),
        ("otel_sgp_exporter._configure", ("httpx", "httpcore", "orjson", "otel_sgp_exporter._pipeline")),
        ("otel_sgp_exporter._zero_code", ("httpx", "httpcore", "orjson", "otel_sgp_exporter._pipeline")),
    ],
)
def test_what_every_process_imports_is_light(module: str, never: tuple[str, ...]) -> None:
    """The hook runs in every instrumented process, wanted or not."""
    script = f"import sys, {module}; sys.exit(' '.join(set({never!r}) & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_what_we_rely_on_in_opentelemetry() -> None:
    """A canary: each name and parameter that set-up uses, so that a new version says it here and not in production."""

    def parameters(of: Callable[..., Any]) -> list[str]:
        return list(inspect.signature(of).parameters)

    assert parameters(TracerProvider.add_span_processor) == ["self", "span_processor"]
    assert "resource" in parameters(TracerProvider)
    assert isinstance(inspect.getattr_static(TracerProvider, "resource"), property)
    assert isinstance(inspect.getattr_static(ReadableSpan, "resource"), property)
    assert parameters(Resource.create)[:1] == ["attributes"]
    assert parameters(Resource.merge) == ["self", "other"]
    assert parameters(SpanExporter.export) == ["self", "spans"]
    assert {"SUCCESS", "FAILURE"} <= SpanExportResult.__members__.keys()
    assert parameters(trace.set_tracer_provider) == ["tracer_provider"]
    assert not hasattr(trace.ProxyTracerProvider(), "add_span_processor")
    assert not hasattr(trace.NoOpTracerProvider(), "add_span_processor")
    assert parameters(TextMapPropagator.inject) == ["self", "carrier", "context", "setter"]
    assert parameters(TextMapPropagator.extract) == ["self", "carrier", "context", "getter"]
    assert parameters(CompositePropagator) == ["propagators"]
    assert parameters(propagate.set_global_textmap) == ["http_text_format"]
