"""`otel-sgp check`: one span there and back, every setting with its source, and a sentence for what is wrong."""

from __future__ import annotations

import argparse
import json
import socket
import ssl
from collections.abc import Iterator
from importlib.metadata import Distribution
from typing import Any

import httpx
import pytest

from otel_sgp_exporter import _check, _surroundings
from otel_sgp_exporter._check import add_arguments, check, run
from otel_sgp_exporter._diagnosis import Exit, of_answer, of_error
from otel_sgp_exporter._surroundings import Installed, installed
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
        assert f"through the proxy {url.removeprefix('http://')}" in check()["verdict"]


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
    monkeypatch.setattr(_check, "_READ_BACK_SECONDS", 0)
    monkeypatch.setattr(_check._Check, "_upsert", lambda *arguments: None)
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
    diagnosis = of_answer(http_status, f"HTTP {http_status} {'x' * 1000}").diagnosis
    assert diagnosis.status in (Exit.CONNECTION, Exit.CREDENTIALS, Exit.REFUSED)
    assert f"HTTP {http_status}" in diagnosis.sentence
    assert len(diagnosis.sentence) < 400


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
