"""`OTEL_TRACES_EXPORTER=sgp opentelemetry-instrument python app.py`, as it stands and in everybody's surroundings.

What other SDKs, interpreters and distros do with it: `make test-matrix` runs this file in each.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util._once import Once

from otel_sgp_exporter import _attach
from otel_sgp_exporter._configure import configure
from otel_sgp_exporter._hook import pre_instrument
from otel_sgp_exporter._zero_code import AutoSGPSpanExporter
from support import StubServer, settings, upserts
from zero_code.loader import (
    HAS_DISTRO,
    LOADER,
    TWO_SPANS,
    environment,
    instrumented,
    needs_distro,
    needs_entry_points,
    needs_loader,
    variables,
)

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "zero-code.md"
BOTH = [["start", "end"], ["start", "end"]]
under_the_loader = [needs_loader, needs_entry_points]


def arrived(server: StubServer) -> list[list[str]]:
    return list(upserts(server.items).values())


class TestUnderTheLoader:
    """With opentelemetry-distro installed the SDK builds the exporters, without it our hook does all."""

    pytestmark = under_the_loader

    @pytest.mark.parametrize("value", ["sgp", " sgp ", "sgp,none"][: 2 if HAS_DISTRO else 3])
    def test_start_and_end_of_each_span_once(self, tmp_path: Path, server: StubServer, value: str) -> None:
        """The one thing that must work; nothing is printed."""
        done = instrumented(tmp_path, server, OTEL_TRACES_EXPORTER=value)
        assert (arrived(server), done.returncode, done.stdout, done.stderr) == (BOTH, 0, "", "")

    @pytest.mark.parametrize("value", ["sgp,console", "console, sgp"])
    def test_beside_another_exporter(self, tmp_path: Path, server: StubServer, value: str) -> None:
        """The other one gets its spans from the stock processor; where nobody sets it up, that is said."""
        done = instrumented(tmp_path, server, OTEL_TRACES_EXPORTER=value)
        assert (arrived(server), done.returncode) == (BOTH, 0)
        assert done.stdout.count('"trace_id"') == (2 if HAS_DISTRO else 0)
        assert ("Only sgp is set up, not console" in done.stderr) == (not HAS_DISTRO)

    @pytest.mark.parametrize(
        "chosen",
        [
            {"OTEL_TRACES_EXPORTER": "none"},
            {"OTEL_TRACES_EXPORTER": "console"},
            {"OTEL_TRACES_EXPORTER": "sgp", "OTEL_SDK_DISABLED": "True"},
            {"OTEL_TRACES_EXPORTER": "sgp", "DISABLE_SCALE_TRACING": "1"},
            *([] if HAS_DISTRO else [{"OTEL_TRACES_EXPORTER": "-"}, {"OTEL_TRACES_EXPORTER": " "}]),
        ],
        ids=str,
    )
    def test_not_wanted(self, tmp_path: Path, server: StubServer, chosen: dict[str, str]) -> None:
        """Nothing is sent, and the engine is not even loaded; the rest of us only where the SDK builds what is off."""
        script = TWO_SPANS + "\nimport sys; assert 'otel_sgp_exporter._pipeline' not in sys.modules"
        if chosen.get("OTEL_TRACES_EXPORTER") != "sgp":
            script += "\nassert 'otel_sgp_exporter._zero_code' not in sys.modules"
        done = instrumented(tmp_path, server, script, **chosen)
        assert (arrived(server), done.returncode) == ([], 0), done.stderr
        said = ["SGP gets no spans: DISABLE_SCALE_TRACING is set"] if "DISABLE_SCALE_TRACING" in chosen else []
        assert done.stderr.splitlines() == said

    def test_without_a_key_the_program_and_the_other_exporters_live(self, tmp_path: Path, server: StubServer) -> None:
        """One line that says what to set, and no traceback."""
        done = instrumented(
            tmp_path, server, OTEL_TRACES_EXPORTER="sgp,console", OTEL_EXPORTER_SGP_API_KEY=" ", SGP_API_KEY="-"
        )
        assert (arrived(server), done.returncode) == ([], 0)
        assert done.stdout.count('"trace_id"') == (2 if HAS_DISTRO else 0)
        (line,) = done.stderr.splitlines()
        assert "SGP gets no spans: SGPSpanExporter needs api_key" in line

    def test_configure_in_the_program_changes_nothing(self, tmp_path: Path, server: StubServer) -> None:
        """Both at once is one processor, however often."""
        script = "from otel_sgp_exporter import configure\nassert configure() is configure()\n" + TWO_SPANS
        done = instrumented(tmp_path, server, script, OTEL_TRACES_EXPORTER="sgp")
        assert (arrived(server), done.returncode, done.stderr) == (BOTH, 0, "")

    @pytest.mark.skipif(HAS_DISTRO, reason="with opentelemetry-distro the SDK reads the file, or says why not")
    def test_nobody_reads_the_configuration_file(self, tmp_path: Path, server: StubServer) -> None:
        """Who sets both variables means the file; that nothing comes of it is said."""
        done = instrumented(tmp_path, server, OTEL_TRACES_EXPORTER="sgp", OTEL_CONFIG_FILE="otel.yaml")
        assert (arrived(server), done.returncode) == ([], 0)
        assert "nothing here reads OTEL_CONFIG_FILE; install opentelemetry-distro" in done.stderr

    def test_twice_is_once(self, tmp_path: Path, server: StubServer) -> None:
        """A name that is in the variable twice is one exporter."""
        done = instrumented(tmp_path, server, OTEL_TRACES_EXPORTER="sgp,sgp")
        assert (arrived(server), done.returncode, done.stderr) == (BOTH, 0, "")

    def test_children_in_processes_of_their_own(self, tmp_path: Path, server: StubServer) -> None:
        """multiprocessing's forked children end without exit hooks, and still deliver."""
        script = (
            TWO_SPANS
            + """
import multiprocessing
def work():
    with tracer.start_as_current_span("parent"), tracer.start_as_current_span("child"):
        pass
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
"""
        )
        done = instrumented(tmp_path, server, script, OTEL_TRACES_EXPORTER="sgp", PYTHONWARNINGS="ignore")
        assert (arrived(server), done.returncode, done.stderr) == (2 * BOTH, 0, "")

    def test_fork(self, tmp_path: Path, server: StubServer) -> None:
        """Parent and child each send their own spans, once."""
        script = TWO_SPANS + "\nimport os, sys\nchild = os.fork()\n" + TWO_SPANS
        script += "\nif child == 0: sys.exit()\nos.waitpid(child, 0)"
        done = instrumented(tmp_path, server, script, OTEL_TRACES_EXPORTER="sgp", PYTHONWARNINGS="ignore")
        assert (arrived(server), done.returncode) == (3 * BOTH, 0), done.stderr

    @needs_distro
    @pytest.mark.skipif(
        any(point.name == "otlp" for point in entry_points(group="opentelemetry_metrics_exporter")),
        reason="an OTLP exporter is installed",
    )
    def test_the_distro_without_an_otlp_exporter(self, tmp_path: Path, server: StubServer) -> None:
        """Fails before our hook, as the page says; its two variables mend it, as all other tests here show."""
        chosen = {"OTEL_TRACES_EXPORTER": "sgp", "OTEL_METRICS_EXPORTER": "-", "OTEL_LOGS_EXPORTER": "-"}
        done = instrumented(tmp_path, server, **chosen)
        assert (arrived(server), done.returncode) == ([], 0)
        assert "Requested component 'otlp_proto_grpc' not found" in done.stderr

    def test_capitals(self, tmp_path: Path, server: StubServer) -> None:
        """Names of exporters are in small letters; the SDK's complaint or ours is on the page."""
        done = instrumented(tmp_path, server, OTEL_TRACES_EXPORTER="SGP")
        assert (arrived(server), done.returncode) == ([], 0)
        said = "Requested component 'SGP' not found" if HAS_DISTRO else "it is called sgp, in small letters"
        assert said in done.stderr

    def test_our_variables_are_options_of_the_command(self, tmp_path: Path, server: StubServer) -> None:
        """`--exporter_sgp_endpoint`, and the help still works."""
        helped = subprocess.run([*LOADER, "--help"], capture_output=True, text=True, timeout=60)
        assert (helped.returncode, "--exporter_sgp_endpoint" in helped.stdout) == (0, True)
        (tmp_path / "script.py").write_text(TWO_SPANS)
        chosen = {
            **variables(server),
            "OTEL_TRACES_EXPORTER": "sgp",
            "OTEL_EXPORTER_SGP_ENDPOINT": "http://127.0.0.1:9",
        }
        command = [*LOADER, "--exporter_sgp_endpoint", server.url, sys.executable, str(tmp_path / "script.py")]
        subprocess.run(command, env=environment(chosen), check=True, timeout=60)
        assert arrived(server) == BOTH

    @pytest.mark.parametrize("order", ["sgp,tracecontext,baggage", "tracecontext,sgp", "-"])
    def test_requests_are_marked(self, tmp_path: Path, server: StubServer, order: str) -> None:
        """With the propagators that the user chose, and with the default ones."""
        script = """
            from opentelemetry import propagate, trace
            came = {"traceparent": f"00-{1:032x}-{2:016x}-01", "tracestate": "other=1"}
            with trace.get_tracer("t").start_as_current_span("s", propagate.extract(came)) as span:
                headers = {}
                propagate.inject(headers)
            own = f"{span.get_span_context().span_id:016x}"
            assert headers["tracestate"] == f"sgp={own},other=1", headers
            assert own in headers["traceparent"]
        """
        done = instrumented(tmp_path, server, script, OTEL_TRACES_EXPORTER="sgp", OTEL_PROPAGATORS=order)
        assert (done.returncode, done.stderr) == (0, "")


class TestConfigurationFile:
    """Declarative set-up with OTEL_CONFIG_FILE, where the SDK has it."""

    pytestmark: ClassVar = [
        needs_entry_points,
        pytest.mark.skipif(
            importlib.util.find_spec("opentelemetry.configuration") is None
            and importlib.util.find_spec("opentelemetry.sdk._configuration.file") is None,
            reason="this SDK reads no configuration file; `make test-matrix` has one that does",
        ),
    ]

    @pytest.mark.parametrize("processor", ["batch", "simple"])
    @pytest.mark.parametrize("told", ["in the file", "by variables"])
    @needs_loader
    @needs_distro
    def test_under_the_loader(self, tmp_path: Path, server: StubServer, processor: str, told: str) -> None:
        """START and END, with the settings in the file or, where it says nothing, in the variables."""
        options = settings(server.url) if told == "in the file" else {}
        chosen = {} if options else variables(server)
        path = written(tmp_path, processor, options)
        done = instrumented(tmp_path, server, OTEL_CONFIG_FILE=path, **{"OTEL_EXPORTER_SGP_API_KEY": "-", **chosen})
        assert (arrived(server), done.returncode) == (BOTH, 0), done.stderr

    @needs_loader
    @needs_distro
    def test_as_documented(self, tmp_path: Path, server: StubServer) -> None:
        """The file of the page, as it stands there; OTEL_TRACES_EXPORTER is not read beside it."""
        (text,) = re.findall("^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
        (tmp_path / "otel.yaml").write_text(text)
        chosen = {"SGP_API_KEY": "k", "SGP_ACCOUNT_ID": "a", "OTEL_TRACES_EXPORTER": "console"}
        unset = {"OTEL_EXPORTER_SGP_API_KEY": "-", "OTEL_EXPORTER_SGP_ACCOUNT_ID": "-"}
        done = instrumented(tmp_path, server, OTEL_CONFIG_FILE=str(tmp_path / "otel.yaml"), **chosen, **unset)
        assert (arrived(server), done.returncode, done.stdout) == (BOTH, 0, ""), done.stderr

    def test_in_code(self, tmp_path: Path, server: StubServer) -> None:
        """END of each span at least, and both after `configure()`, which adopts what the file set up."""
        path = written(tmp_path, "batch", {**settings(server.url), "colour": "red"})
        script = f"""
try:
    from opentelemetry.configuration import configure_sdk, load_config_file
except ImportError:
    from opentelemetry.sdk._configuration.file import configure_sdk, load_config_file
configure_sdk(load_config_file({path!r}))
from otel_sgp_exporter import configure
assert configure() is configure()
"""
        (tmp_path / "script.py").write_text(script + TWO_SPANS)
        done = subprocess.run([sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, timeout=60)
        assert (arrived(server), done.returncode) == (BOTH, 0), done.stderr
        assert "Ignored, since 'sgp' has no such setting: colour" in done.stderr


def written(directory: Path, processor: str, options: dict[str, Any]) -> str:
    path = directory / "otel.yaml"
    exporter = {"exporter": {"sgp": options or None}}
    path.write_text(json.dumps({"file_format": "1.0", "tracer_provider": {"processors": [{processor: exporter}]}}))
    return str(path)


class TestPlaceholder:
    """The exporter that the SDK builds, in the orders that distros build it in."""

    @pytest.fixture(autouse=True)
    def _fresh(self, monkeypatch: pytest.MonkeyPatch, server: StubServer) -> Iterator[None]:
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
        monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
        monkeypatch.setattr(_attach, "_attached", [])
        monkeypatch.setattr(_attach, "_said", set())
        monkeypatch.setattr(AutoSGPSpanExporter, "was_built", False)
        for name, value in variables(server).items():
            monkeypatch.setenv(name, value)
        there = propagate.get_global_textmap()
        yield
        propagate.set_global_textmap(there)
        for attached in _attach._attached:
            attached.processor.shutdown(1000)

    def spans(self, provider: TracerProvider, *names: str) -> None:
        for name in names:
            provider.get_tracer("t").start_span(name).end()

    def test_built_before_the_provider_it_is_attached_by_the_hook(self, server: StubServer) -> None:
        """As under the AWS distro."""
        stock = BatchSpanProcessor(AutoSGPSpanExporter())
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(stock)
        trace.set_tracer_provider(provider)
        pre_instrument()
        self.spans(provider, "one", "two")
        provider.shutdown()
        assert arrived(server) == BOTH

    def test_hook_and_first_batch_at_once(self) -> None:
        """The loader's thread and the stock processor's: one of them attaches it."""
        trying = threading.Semaphore(0)

        class Announces(AutoSGPSpanExporter):
            def _try_to_attach(self, *arguments: Any) -> None:
                trying.release()
                super()._try_to_attach(*arguments)

        placeholder = Announces(start_delay_millis="off")
        trying.acquire()
        trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
        threads = [threading.Thread(target=placeholder.attach) for _ in range(2)]
        with _attach.lock:
            for thread in threads:
                thread.start()
                trying.acquire()
        for thread in threads:
            thread.join()
        assert len(_attach._attached) == 1

    def test_without_the_hook_the_first_batch_is_not_lost(self, server: StubServer) -> None:
        """END for what had ended, both for what comes after."""
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(AutoSGPSpanExporter()))
        trace.set_tracer_provider(provider)
        self.spans(provider, "one", "two")
        provider.shutdown()
        assert arrived(server) == [["end"], ["start", "end"]]

    def test_a_provider_that_is_not_the_global_one(self, server: StubServer) -> None:
        """Somebody else's pipeline: END of each span, and the global provider is left alone."""
        trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
        placeholder = AutoSGPSpanExporter()
        other = TracerProvider(shutdown_on_exit=False)
        other.add_span_processor(SimpleSpanProcessor(placeholder))
        self.spans(other, "one", "two")
        other.shutdown()
        assert arrived(server) == [["end"], ["end"]]

    def test_another_provider_s_spans_do_not_attach_it(self, server: StubServer) -> None:
        """Built before any provider, it waits for spans of the global one."""
        placeholder = AutoSGPSpanExporter()
        trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
        other = TracerProvider(shutdown_on_exit=False)
        other.add_span_processor(SimpleSpanProcessor(placeholder))
        self.spans(other, "one")
        other.shutdown()
        assert (arrived(server), _attach._attached) == ([["end"]], [])

    def test_propagators_that_are_set_after_the_exporter(self) -> None:
        """As by a configuration file: the hook puts the mark behind them again."""
        provider = TracerProvider(shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
        AutoSGPSpanExporter()
        propagate.set_global_textmap(TraceContextTextMapPropagator())
        pre_instrument()
        headers: dict[str, str] = {}
        with trace.get_tracer("t").start_as_current_span("s"):
            propagate.inject(headers)
        assert headers["tracestate"].startswith("sgp=")

    def test_it_never_raises(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """Neither when it is built nor when it exports; said once."""
        monkeypatch.delenv("OTEL_EXPORTER_SGP_API_KEY")
        provider = TracerProvider(shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
        placeholder = AutoSGPSpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(placeholder))
        self.spans(provider, "one", "two")
        assert placeholder.export([]) is SpanExportResult.SUCCESS
        assert placeholder.force_flush()
        provider.shutdown()
        assert len([text for text in caplog.messages if "SGP gets no spans" in text]) == 1

    def test_start_delay_off_in_a_file(self, server: StubServer) -> None:
        """YAML reads `off` as false."""
        provider = TracerProvider(shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
        provider.add_span_processor(BatchSpanProcessor(AutoSGPSpanExporter(start_delay_millis=False, endpoint=None)))
        self.spans(provider, "one")
        provider.shutdown()
        assert arrived(server) == [["end"]]

    def test_configure_adopts_what_waits(self, server: StubServer) -> None:
        """With the settings of the file, and once."""
        placeholder = AutoSGPSpanExporter(start_delay_millis="off")
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(placeholder))
        trace.set_tracer_provider(provider)
        processor = configure()
        assert processor is configure()
        self.spans(provider, "one", "two")
        provider.shutdown()
        assert arrived(server) == [["end"], ["end"]]

    def test_the_hook_swallows_everything(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The loader has no try around it: an exception would end all instrumentation."""
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "sgp")
        monkeypatch.delenv("OTEL_EXPORTER_SGP_ACCOUNT_ID")
        pre_instrument()
        assert "needs account_id" in caplog.text

    def test_without_the_sdk_the_hook_says_so(self) -> None:
        """Somebody has uninstalled it; the program runs on."""
        script = """
import sys
sys.modules["opentelemetry.sdk.trace"] = None
from otel_sgp_exporter._hook import pre_instrument
pre_instrument()
"""
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment({"OTEL_TRACES_EXPORTER": "sgp"}),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.startswith("SGP gets no spans: import of opentelemetry.sdk.trace halted")


# Said by others (the SDK, the loader, the network), or put together from two places.
ELSEWHERE = (
    "Requested component",
    "No processor type",
    "Name or service",
    "timed out",
    "407 Proxy",
    "CERTIFICATE_",
    "HTTP ",
    "os.fork",
    "needs api_key",
    "is ignored: it must be",
)


def test_the_documented_messages_are_those_that_are_said() -> None:
    """Whoever searches the page for what the log says finds it."""
    source = "".join(path.read_text() for path in (ROOT / "src" / "otel_sgp_exporter").glob("*.py"))
    said = source + re.sub(r"\{[^}]*\}|%[a-z]", "", source)
    rows = PAGE.read_text().partition("| message |")[2].splitlines()
    messages = [message for row in rows if row.startswith("|") for message in re.findall("`(.+?)`", row.split("|")[1])]
    pieces = [piece.strip(" ().,:") for message in messages for piece in message.split("...")]
    assert [piece for piece in pieces if not piece.startswith(ELSEWHERE) and piece not in said] == []
