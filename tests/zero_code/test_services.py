"""Services in processes of their own that call each other: one tree in SGP, whoever stands between."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_sgp_exporter.devserver import DevServer
from zero_code.loader import LOADER, environment, needs_entry_points, needs_loader

pytestmark = [
    needs_loader,
    needs_entry_points,
    *(
        pytest.mark.skipif(
            importlib.util.find_spec(f"opentelemetry.instrumentation.{name}") is None,
            reason=f"opentelemetry-instrumentation-{name} is not installed; `make test-matrix` runs this",
        )
        for name in (["asgi", "httpx"] if importlib.util.find_spec("opentelemetry.instrumentation") else [])
    ),
]

Start = Callable[..., str]


@pytest.fixture
def sgp() -> Iterator[DevServer]:
    """A local SGP."""
    with DevServer() as server:
        yield server


def variables(sgp: DevServer) -> dict[str, str]:
    return {
        "OTEL_TRACES_EXPORTER": "sgp",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "starlette",  # where it is installed: the service wraps itself
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_SGP_ENDPOINT": sgp.url,
        "OTEL_EXPORTER_SGP_API_KEY": "k",
        "OTEL_EXPORTER_SGP_ACCOUNT_ID": "a",
    }


@pytest.fixture
def start(sgp: DevServer) -> Iterator[Start]:
    """Starts a service and returns its URL; all are ended, and have delivered, when the fixture's `stop` is called."""
    running: list[subprocess.Popen[str]] = []

    def make(name: str, next_url: str = "", **chosen: str) -> str:
        port = free_port()
        process = subprocess.Popen(
            [*LOADER, sys.executable, str(Path(__file__).with_name("service.py")), str(port), next_url],
            env=environment({**variables(sgp), "OTEL_SERVICE_NAME": name, **chosen}),
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return f"http://127.0.0.1:{port}/"

    def stop(number: int = signal.SIGINT) -> None:
        while running:
            process = running.pop()
            process.send_signal(number)
            process.communicate(timeout=30)

    make.stop = stop  # type: ignore[attr-defined]
    yield make
    stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def call(directory: Path, sgp: DevServer, url: str, set_up: str = "") -> None:
    """An agent in a process of its own calls `url`."""
    script = f"""
import httpx
from opentelemetry import trace
{set_up}
with trace.get_tracer("agent").start_as_current_span("agent"):
    httpx.get({url!r}).raise_for_status()
"""
    (directory / "agent.py").write_text(script)
    chosen = {**variables(sgp), "OTEL_SERVICE_NAME": "agent", **({"OTEL_TRACES_EXPORTER": "none"} if set_up else {})}
    subprocess.run(
        [*LOADER, sys.executable, str(directory / "agent.py")], env=environment(chosen), check=True, timeout=60
    )


def paths(sgp: DevServer) -> set[str]:
    """Every span as the path from its root, by names; asserts that SGP has every parent."""
    spans = {span["id"]: span for span in sgp.spans()}
    assert len({span["trace_id"] for span in spans.values()}) == 1
    assert all(span["end_timestamp"] for span in spans.values())

    def path(span: dict[str, Any]) -> str:
        above = f"{path(spans[span['parent_id']])} > " if span["parent_id"] else ""
        return f"{above}{span['name']}"

    return {path(span) for span in spans.values()}


def test_one_tree_across_two_services(tmp_path: Path, sgp: DevServer, start: Start) -> None:
    """The callee's spans hang under the caller's, with nothing configured but the exporter."""
    call(tmp_path, sgp, start("backend"))
    start.stop()  # type: ignore[attr-defined]
    assert paths(sgp) == {"agent", "agent > GET", "agent > GET > GET /", "agent > GET > GET / > work"}
    assert {span["metadata"]["service_name"] for span in sgp.spans()} == {"agent", "backend"}


def test_a_service_between_that_sends_nothing_to_sgp(tmp_path: Path, sgp: DevServer, start: Start) -> None:
    """It passes the mark on, and the tree closes over it."""
    backend = start("backend")
    call(tmp_path, sgp, start("between", backend, OTEL_TRACES_EXPORTER="none"))
    start.stop()  # type: ignore[attr-defined]
    assert paths(sgp) == {"agent", "agent > GET", "agent > GET > GET /", "agent > GET > GET / > work"}
    assert {span["metadata"]["service_name"] for span in sgp.spans()} == {"agent", "backend"}


def test_a_request_whose_own_span_is_left_out(tmp_path: Path, sgp: DevServer, start: Start) -> None:
    """A filter that drops HTTP spans does not cut the tree: the callee hangs under the agent."""
    set_up = """
from opentelemetry.trace import SpanKind
from otel_sgp_exporter import configure
configure(span_filter=lambda span: span.kind is not SpanKind.CLIENT)
"""
    call(tmp_path, sgp, start("backend"), set_up)
    start.stop()  # type: ignore[attr-defined]
    assert paths(sgp) == {"agent", "agent > GET /", "agent > GET / > work"}


@pytest.mark.parametrize("remote_parent", ["auto", "root", "link"])
def test_a_caller_that_is_not_in_sgp(sgp: DevServer, start: Start, remote_parent: str) -> None:
    """Its callee is a root, which SGP lists, and keeps the caller's id; unless the user knows better."""
    url = start("backend", OTEL_EXPORTER_SGP_REMOTE_PARENT=remote_parent)
    httpx.get(url, headers={"traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01"})
    start.stop()  # type: ignore[attr-defined]
    (server_span,) = (span for span in sgp.spans() if span["name"] == "GET /")
    if remote_parent == "link":
        assert server_span["parent_id"].endswith(f"{0xDEF:012x}")
    else:
        assert server_span["parent_id"] is None
        assert server_span["metadata"]["otel_parent_span_id"] == f"{0xDEF:016x}"
        assert paths(sgp) == {"GET /", "GET / > work"}


def test_a_service_that_ends_by_sigterm(sgp: DevServer, start: Start) -> None:
    """uvicorn raises the signal again, which ends Python at once; what its shutdown hook has flushed is there."""
    httpx.get(start("backend", OTEL_BSP_SCHEDULE_DELAY="60000"))
    start.stop(signal.SIGTERM)  # type: ignore[attr-defined]
    assert paths(sgp) == {"GET /", "GET / > work"}
