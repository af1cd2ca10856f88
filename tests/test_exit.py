"""What a process leaves behind: scripts that flush nothing, forks, children; each in a process of its own."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support import StubServer, upserts

PREAMBLE = """
import os, sys, signal, threading, time, multiprocessing
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
processor = ConcurrentBatchSpanProcessor(SGPSpanExporter())
provider = TracerProvider()
provider.add_span_processor(processor)
tracer = provider.get_tracer("t")
def spans(count, name="span"):
    for number in range(count):
        tracer.start_span(f"{name} {number}").end()
"""


def run(tmp_path: Path, server: StubServer, script: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
    """Run `script` after the preamble in a new interpreter."""
    path = tmp_path / "script.py"
    path.write_text(PREAMBLE + textwrap.dedent(script))
    environment = os.environ | {
        "OTEL_EXPORTER_SGP_ENDPOINT": server.url,
        "OTEL_EXPORTER_SGP_API_KEY": "k",
        "OTEL_EXPORTER_SGP_ACCOUNT_ID": "a",
    }
    return subprocess.run(
        [sys.executable, "-W", "error", path], env=environment, capture_output=True, text=True, timeout=seconds
    )


def complete(server: StubServer) -> int:
    """How many spans have both upserts, START first."""
    return sum(arrived == ["start", "end"] for arrived in upserts(server.items).values())


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param("", id="end of main"),
        pytest.param("sys.exit(3)", id="sys.exit"),
        pytest.param("raise RuntimeError('the application failed')", id="unhandled exception"),
        pytest.param("signal.signal(signal.SIGTERM, lambda *a: sys.exit(0)); os.kill(os.getpid(), 15)", id="SIGTERM"),
    ],
)
def test_a_script_that_never_flushes_delivers_everything(tmp_path: Path, server: StubServer, ending: str) -> None:
    """However the interpreter exits in order, nothing is left behind and nothing is printed about it."""
    done = run(tmp_path, server, f"spans(300)\n{ending}\n")
    assert complete(server) == 300
    assert "application failed" in done.stderr or done.stderr == ""


def test_a_provider_that_does_not_shut_down_at_exit_is_drained_all_the_same(tmp_path: Path, server: StubServer) -> None:
    """Delivery at exit does not hang on the provider's own hook."""
    done = run(
        tmp_path,
        server,
        """
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        tracer = provider.get_tracer("t")
        spans(10)
        """,
    )
    assert (complete(server), done.stderr) == (10, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_sends_its_own_spans_and_none_of_the_parent_s(tmp_path: Path, server: StubServer) -> None:
    """After a fork in the middle of traffic, parent and child each deliver what is theirs, once."""
    done = run(
        tmp_path,
        server,
        """
        spans(50, "parent before")
        child = os.fork()
        spans(50, "child" if child == 0 else "parent after")
        if child == 0:
            sys.exit(0)
        os.waitpid(child, 0)
        """,
    )
    assert done.stderr == ""
    assert complete(server) == 150
    names = [item["name"].rpartition(" ")[0] for item in server.items]
    assert {name: names.count(name) for name in names} == {"parent before": 100, "child": 100, "parent after": 100}


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_children_of_multiprocessing_deliver(tmp_path: Path, server: StubServer, method: str) -> None:
    """Children that leave without the interpreter's exit hooks deliver through multiprocessing's own."""
    done = run(
        tmp_path,
        server,
        f"""
        def work():
            spans(20, "child")
        if __name__ == "__main__":
            children = [multiprocessing.get_context("{method}").Process(target=work) for _ in range(2)]
            for child in children: child.start()
            for child in children: child.join()
        """,
    )
    assert (complete(server), done.stderr) == (40, "")


def test_a_dead_backend_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    """With nobody listening, the process leaves after some seconds, not after the whole budget."""
    with StubServer() as server:
        pass
    run(tmp_path, server, "spans(10)", seconds=12)


def test_a_black_hole_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    """The same with a backend that takes connections and never answers."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = StubServer()
        server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        run(tmp_path, server, "spans(10)", seconds=12)
        server._server.server_close()


def test_sigterm_without_a_handler_ends_the_process_at_once(tmp_path: Path, server: StubServer) -> None:
    """Python runs nothing on a bare SIGTERM: documented, not hidden."""
    done = run(tmp_path, server, "spans(10)\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(10)")
    assert done.returncode == -signal.SIGTERM
