"""`otel-sgp check`: one span there and back, every setting with its source, and a sentence for what is wrong."""

from __future__ import annotations

import argparse
import http.server
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_sgp_exporter._check import _round_trip, _surroundings, add_arguments, check, run
from otel_sgp_exporter._check._diagnosis import Exit, of_answer, of_error
from otel_sgp_exporter._check._pitfalls import pitfalls
from otel_sgp_exporter._check._surroundings import Installed, installed
from otel_sgp_exporter.devserver import DevServer

KEY, ACCOUNT = "a-very-secret-key", "account"


@pytest.fixture
def sgp(monkeypatch: pytest.MonkeyPatch) -> Iterator[DevServer]:
    """A local SGP that takes one key for one account, and variables that fit."""
    with DevServer(api_key=KEY, account_id=ACCOUNT) as server:
        monkeypatch.setenv("OTEL_EXPORTER_SGP_ENDPOINT", server.url)
        monkeypatch.setenv("SGP_API_KEY", KEY)
        monkeypatch.setenv("OTEL_EXPORTER_SGP_ACCOUNT_ID", ACCOUNT)
        yield server


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


def test_all_is_well(sgp: DevServer, capsys: pytest.CaptureFixture[str]) -> None:
    """START and END are in SGP, the steps are listed, and the last line says where to look."""
    assert run(parsed()) == 0
    lines = capsys.readouterr().out.splitlines()
    (span,) = sgp.spans()
    assert (span["name"], bool(span["end_timestamp"])) == ("otel-sgp check", True)
    assert lines[-5:] == [
        f"+ {sgp.url} answers and takes the key",
        "+ START of a test span was taken",
        "+ END of a test span was taken",
        "+ it was read back, complete",
        f"= All is well: the test span is in SGP, in trace {span['trace_id']}.",
    ]


def test_settings_with_their_sources(sgp: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which variable won, what is wrong with another, and no secret."""
    monkeypatch.setenv("OTEL_EXPORTER_SGP_HEADERS", "x-team=hush")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "soon")
    monkeypatch.setenv("OTEL_EXPORTER_SGP_START_DELAY", "off")
    report = check()
    rows = {row["setting"]: (row["value"], row["source"]) for row in report["settings"]}
    assert rows["api_key"] == (f"({len(KEY)} characters)", "SGP_API_KEY")
    assert rows["endpoint"] == (sgp.url, "OTEL_EXPORTER_SGP_ENDPOINT")
    assert rows["headers"] == ("x-team=(hidden)", "OTEL_EXPORTER_SGP_HEADERS")
    assert rows["schedule_delay_millis"] == ("250", "default")
    assert rows["start_delay_millis"] == ("off", "OTEL_EXPORTER_SGP_START_DELAY")
    assert rows["spool"] == ("not set", "default")
    assert report["warnings"] == ["OTEL_BSP_SCHEDULE_DELAY is ignored: it must be a number."]
    assert KEY not in str(report)
    assert "hush" not in str(report)


def test_json_is_the_same_for_scripts(sgp: DevServer, capsys: pytest.CaptureFixture[str]) -> None:
    """One object, whose status is the exit status."""
    status = run(parsed("--json"))
    report = json.loads(capsys.readouterr().out)
    assert (status, report["status"], len(report["steps"])) == (0, 0, 4)
    assert {"settings", "warnings", "installed", "steps", "status", "verdict"} == report.keys()


@pytest.mark.parametrize(
    ("variables", "status", "said"),
    [
        ({"SGP_API_KEY": ""}, Exit.SETTINGS, "needs api_key (or OTEL_EXPORTER_SGP_API_KEY or SGP_API_KEY)"),
        ({"DISABLE_SCALE_TRACING": "1"}, Exit.SETTINGS, "DISABLE_SCALE_TRACING is set, so unset it"),
        ({"OTEL_SDK_DISABLED": "true"}, Exit.SETTINGS, "OTEL_SDK_DISABLED is set, so unset it"),
        ({"SGP_API_KEY": "other"}, Exit.CREDENTIALS, "is the key one of this account's?"),
        ({"OTEL_EXPORTER_SGP_ACCOUNT_ID": "other"}, Exit.CREDENTIALS, "is the key one of this account's?"),
        ({"OTEL_EXPORTER_SGP_ENDPOINT": "http://no-such-host.invalid"}, Exit.CONNECTION, "There is no host no-such"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("sgp")
def test_what_people_get_wrong(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], status: Exit, said: str
) -> None:
    """A sentence that says how to mend it, a status that says what kind it is, and no traceback."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    report = check()
    assert (report["status"], said in report["verdict"]) == (status, True), report["verdict"]


def test_a_wrong_path_in_the_endpoint(sgp: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """People copy the URL of the page, or of the API reference."""
    monkeypatch.setenv("OTEL_EXPORTER_SGP_ENDPOINT", f"{sgp.url}/v5/spans")
    report = check()
    assert (report["status"], "There is no span API" in report["verdict"]) == (Exit.CONNECTION, True), report


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is named, and the proxy if requests go through one."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and never listens
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        for name, value in {"ENDPOINT": url, "API_KEY": KEY, "ACCOUNT_ID": ACCOUNT}.items():
            monkeypatch.setenv(f"OTEL_EXPORTER_SGP_{name}", value)
        report = check()
        assert (report["status"], report["steps"]) == (Exit.CONNECTION, [])
        assert f"Nobody listens at {url.removeprefix('http://')}:" in report["verdict"]
        monkeypatch.setenv("HTTP_PROXY", url.replace("//", "//user:hush@"))
        assert f"Nobody listens at the proxy {url.removeprefix('http://')}:" in check()["verdict"]
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert f"Nobody listens at {url.removeprefix('http://')}:" in check()["verdict"]


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers 200 to everything, as a captive portal or a page at the wrong port does."""

    body = b"<html>\n  please log in</html>"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_PUT = do_GET  # noqa: N815  # the name that the server looks for

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def listening(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.usefixtures("sgp")
def test_somebody_else_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Success for a span that nobody has written is no success."""
    with listening(Stranger) as url:
        monkeypatch.setenv("OTEL_EXPORTER_SGP_ENDPOINT", url)
        report = check()
    assert (report["status"], report["steps"]) == (Exit.CONNECTION, [])
    assert "Something answers, but not SGP (HTTP 200 <html> please log in</html>)" in report["verdict"]


@pytest.mark.parametrize("body", [b"<html></html>", b"null", b"[]", b""])
@pytest.mark.usefixtures("sgp")
def test_what_is_read_back_is_no_span(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """As when something between us and SGP makes up answers."""
    monkeypatch.setattr(_round_trip.RoundTrip, "_connect", lambda self: None)
    with listening(type("Answers", (Stranger,), {"body": body})) as url:
        monkeypatch.setenv("OTEL_EXPORTER_SGP_ENDPOINT", url)
        report = check()
    assert (report["status"], "Something answers, but not SGP" in report["verdict"]) == (Exit.CONNECTION, True)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_EXPORTER_SGP_ENDPOINT": "http://a..b"}, "a..b cannot be an address"),
        ({"HTTP_PROXY": "ftp://proxy:1"}, "Unknown scheme for proxy URL"),
        (
            {"HTTP_PROXY": "http://no-such-proxy.invalid:1"},
            "the proxy http://no-such-proxy.invalid:1: mend HTTPS_PROXY",
        ),
        ({"OTEL_EXPORTER_SGP_ENDPOINT": "https://127.0.0.1:9", "SSL_CERT_FILE": "/no/such.pem"}, "mend SSL_CERT_FILE"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("sgp")
def test_what_is_wrong_before_any_request(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    """HTTP clients raise all kinds of exceptions then; nobody sees a traceback."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    report = check()
    assert (report["status"], said in report["verdict"]) == (Exit.CONNECTION, True), report["verdict"]


@pytest.mark.usefixtures("sgp")
def test_the_command_for_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the object on standard output, nothing on the other, and the status is that of the process."""
    monkeypatch.setenv("SGP_API_KEY", "other")
    command = [sys.executable, "-c", "import sys; from otel_sgp_exporter._cli import main; sys.exit(main())"]
    done = subprocess.run([*command, "check", "--json"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (Exit.CREDENTIALS, "")
    assert json.loads(done.stdout)["status"] == Exit.CREDENTIALS


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ({"status": 503, "method": "PUT"}, Exit.REFUSED, "HTTP 503"),
        ({"status": 422, "method": "PUT"}, Exit.REFUSED, "refuses the test span"),
    ],
    ids=str,
)
def test_the_server_s_own_trouble(sgp: DevServer, fault: dict[str, Any], status: Exit, said: str) -> None:
    """It answers, and takes nothing."""
    sgp.fault(**fault)
    report = check()
    assert (report["status"], said in report["verdict"]) == (status, True), report["verdict"]


def test_what_cannot_be_read_back(sgp: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken and not there is worth another status: the writing works."""
    monkeypatch.setattr(_round_trip, "_READ_BACK_SECONDS", 0)
    monkeypatch.setattr(_round_trip.RoundTrip, "_upsert", lambda *arguments: None)
    report = check()
    assert report["status"] == Exit.NOT_READ_BACK
    assert "not found (HTTP 404" in report["verdict"]


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "SSL_CERT_FILE"),
        (socket.gaierror(-2, "Name or service not known"), "There is no host"),
        (ConnectionRefusedError(111, "refused"), "Nobody listens"),
        (httpx.ProxyError("403 Forbidden"), "mend HTTPS_PROXY"),
        (httpx.ConnectTimeout("timed out"), "does not answer in time"),
        (OSError("something else"), "something else"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_way_of_not_connecting_has_a_sentence(cause: Exception, said: str) -> None:
    """By the type of what was raised, not by its text."""
    error = httpx.ConnectError("x")
    error.__cause__ = cause
    failure = of_error(error if not isinstance(cause, (httpx.HTTPError, OSError)) else cause, "https://sgp.example")
    assert (failure.diagnosis.status, said in failure.diagnosis.sentence) == (Exit.CONNECTION, True)


@pytest.mark.parametrize("http_status", [301, 400, 401, 403, 404, 407, 413, 422, 429, 500, 503])
def test_every_refusal_has_a_sentence(http_status: int) -> None:
    """With what the server said, cut to a line."""
    diagnosis = of_answer(http_status, f"HTTP {http_status} {'x' * 50}\n" * 20).diagnosis
    assert diagnosis.status in (Exit.CONNECTION, Exit.CREDENTIALS, Exit.REFUSED)
    assert f"HTTP {http_status}" in diagnosis.sentence
    assert (len(diagnosis.sentence) < 400, "\n" in diagnosis.sentence) == (True, False)


class Fake(Distribution):
    def __init__(self, name: str, *requires: str) -> None:
        self.text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        self.text += "".join(f"Requires-Dist: {one}\n" for one in requires)

    def read_text(self, filename: str) -> str | None:
        return self.text if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@pytest.mark.parametrize(
    ("package", "variables", "hint"),
    [
        (Fake("opentelemetry-instrumentation-openai-v2"), {}, f"content is left out: set {CAPTURE}=span_only"),
        (Fake("opentelemetry-instrumentation-openai-v2"), {CAPTURE: "SPAN_ONLY"}, ""),
        (
            Fake("opentelemetry_instrumentation_genai_langchain", "opentelemetry-util-genai>=1"),
            {CAPTURE: "true"},
            f"content goes into logs, not into spans: set {CAPTURE}=span_only",
        ),
        (
            Fake("opentelemetry-instrumentation-openai", "opentelemetry-semantic-conventions-ai"),
            {"TRACELOOP_TRACE_CONTENT": "False"},
            "content is left out: unset TRACELOOP_TRACE_CONTENT",
        ),
        (Fake("opentelemetry-instrumentation-openai", "opentelemetry-semantic-conventions-ai"), {}, ""),
        (
            Fake("openinference-instrumentation-langchain"),
            {"OPENINFERENCE_HIDE_INPUTS": "true"},
            "content is left out: unset OPENINFERENCE_HIDE_INPUTS",
        ),
        (Fake("opentelemetry-instrumentation-httpx"), {}, ""),
        (Fake("langsmith"), {"LANGSMITH_OTEL_ENABLED": "true"}, ""),
    ],
)
def test_hints_about_content(
    monkeypatch: pytest.MonkeyPatch, package: Fake, variables: dict[str, str], hint: str
) -> None:
    """The commonest complaint is an empty span, and each family has its own switch."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_surroundings, "distributions", lambda: [package, Fake("pytest")])
    assert installed() == [Installed(package.metadata["Name"].replace("_", "-"), "1.0", hint)]


def test_what_is_installed_here() -> None:
    """The SDK at least."""
    assert "opentelemetry-sdk" in {package.name for package in installed()}


LOADER, DISTRO, OTLP = (f"opentelemetry-{name}" for name in ("instrumentation", "distro", "exporter-otlp-proto-http"))
VENDOR = "aws-opentelemetry-distro"


@pytest.mark.parametrize(
    ("variables", "packages", "said"),
    [
        ({}, [], ""),
        ({"OTEL_TRACES_EXPORTER": "sgp"}, [LOADER], ""),
        ({"OTEL_TRACES_EXPORTER": " , sgp ,none"}, [LOADER], ""),
        ({"OTEL_TRACES_EXPORTER": "SGP"}, [LOADER], "OTEL_TRACES_EXPORTER: it is called sgp, in small letters."),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, [LOADER], "OTEL_TRACES_EXPORTER=otlp does not name sgp: "),
        ({"OTEL_TRACES_EXPORTER": "sgp"}, [], "opentelemetry-instrument is not installed: "),
        ({"OTEL_TRACES_EXPORTER": "sgp,otlp"}, [LOADER], "Only sgp will be set up, not otlp: install opentelemetry-"),
        ({"OTEL_TRACES_EXPORTER": "sgp,otlp"}, [LOADER, DISTRO, OTLP], ""),
        ({"OTEL_TRACES_EXPORTER": "sgp,otlp"}, [LOADER, VENDOR], ""),
        (
            {"OTEL_TRACES_EXPORTER": "sgp"},
            [LOADER, DISTRO],
            "wants an OTLP exporter, unless you set OTEL_METRICS_EXPORTER and OTEL_LOGS_EXPORTER to none",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "sgp", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
            [LOADER, DISTRO],
            "",
        ),
        ({"OTEL_CONFIG_FILE": "x", "OTEL_TRACES_EXPORTER": "otlp"}, [LOADER], "Nothing here reads OTEL_CONFIG_FILE: "),
        ({"OTEL_CONFIG_FILE": "x", "OTEL_TRACES_EXPORTER": "otlp"}, [LOADER, VENDOR], ""),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, [], "OTEL_TRACES_SAMPLER says that no span is sampled"),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, [], ""),
    ],
    ids=str,
)
def test_what_keeps_spans_from_being_made(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], packages: list[str], said: str
) -> None:
    """SGP can be reached, and still there would be nothing."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    sentences = pitfalls(packages, has_distro=DISTRO in packages or VENDOR in packages)
    assert (len(sentences), said in "".join(sentences)) == (1 if said else 0, True), sentences


@pytest.mark.usefixtures("sgp")
def test_pitfalls_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not change the status: the test span is in SGP all the same."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "SGP")
    report = check()
    assert (report["status"], report["warnings"]) == (Exit.OK, pitfalls({LOADER}, has_distro=False))


@pytest.mark.parametrize("found", [True, False])
def test_a_distro_is_whoever_sets_the_sdk_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: bool) -> None:
    """By the entry point that the loader looks for, whatever the package is called."""
    metadata = tmp_path / "some_vendor-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: some-vendor\nVersion: 1.0\n")
    group = "opentelemetry_configurator" if found else "opentelemetry_instrumentor"
    (metadata / "entry_points.txt").write_text(f"[{group}]\nvendor = some_vendor:Configurator\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert _surroundings.has_distro() == found
