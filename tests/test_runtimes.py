"""Where a process is more than one thread that runs to its end: neighbours at exit, forks, freezes, event loops."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from faults import Exchange, FaultProxy, half_open, passes
from otel_sgp_exporter import ConcurrentBatchSpanProcessor
from support import Answer, Request, StubServer, upserts, wait_until
from test_exit import PREAMBLE, complete, run

Traced = Callable[..., tuple[TracerProvider, ConcurrentBatchSpanProcessor]]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def test_a_slow_processor_before_ours_does_not_use_up_our_time_at_exit(tmp_path: Path, server: StubServer) -> None:
    """Providers shut processors down one after the other: ours begins to deliver before that, when the exit begins."""
    done = run(
        tmp_path,
        server.url,
        """
        from opentelemetry.sdk.trace import SpanProcessor
        class Slow(SpanProcessor):
            def shutdown(self):
                give_up_at = time.monotonic() + 10
                while processor.stats().pending and time.monotonic() < give_up_at:
                    time.sleep(0.01)
                print(processor.stats().pending)
        os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "600000"
        processor = ConcurrentBatchSpanProcessor(SGPSpanExporter())
        provider = TracerProvider()
        provider.add_span_processor(Slow())
        provider.add_span_processor(processor)
        tracer = provider.get_tracer("t")
        spans(20)
        """,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert complete(server) == 20


@needs_fork
def test_a_multiprocessing_child_of_a_process_that_has_traced_delivers_what_it_has(
    tmp_path: Path, server: StubServer
) -> None:
    """Such children leave without exit hooks on most versions; what the parent has arranged for its exit is no help."""
    done = run(
        tmp_path,
        server.url,
        """
        if __name__ == "__main__":
            spans(10, "parent")
            processor.force_flush()
            child = multiprocessing.get_context("fork").Process(target=spans, args=(10, "child"))
            child.start()
            child.join()
        """,
    )
    assert (complete(server), done.stderr) == (20, "")


@needs_fork
def test_a_child_shows_its_own_resource(tmp_path: Path, server: StubServer) -> None:
    """Newer SDKs give a forked child another `service.instance.id`: spans say what their provider says, at any time."""
    done = run(
        tmp_path,
        server.url,
        """
        import json
        from opentelemetry.sdk.resources import Resource
        def tell(name):
            spans(1, name)
            processor.force_flush()
            print(json.dumps(dict(provider.resource.attributes)), flush=True)
        tell("parent")
        if os.fork() == 0:
            tell("child")
            provider._resource = Resource({"service.name": "named later"})
            tracer = provider.get_tracer("another")
            tell("later")
            os._exit(0)
        os.wait()
        """,
    )
    assert done.stderr == ""
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [item["metadata"]["resource"] for item in server.items if item.get("end_timestamp")] == told
    assert told[2] == {"service.name": "named later"}


@needs_fork
def test_a_child_looks_up_no_proxy_and_loads_no_certificates(tmp_path: Path, server: StubServer) -> None:
    """Both crash in a forked child on macOS; they were found when the exporter was made."""
    done = run(
        tmp_path,
        server.url,
        """
        import ssl, urllib.request, httpx, otel_sgp_exporter._transport
        def forbidden(*args, **options):
            print("looked up")
        for module in (urllib.request, otel_sgp_exporter._transport):
            module.getproxies = module.proxy_bypass = forbidden
        httpx.create_ssl_context = ssl.create_default_context = forbidden
        ssl.SSLContext.load_default_certs = forbidden
        if os.fork() == 0:
            spans(3, "child")
            os._exit(not processor.force_flush())
        print(os.waitstatus_to_exitcode(os.wait()[1]))
        """,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert complete(server) == 3


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_process_that_was_frozen_goes_on_where_it_was(tmp_path: Path, server: StubServer) -> None:
    """As a Lambda or a laptop: all deadlines have passed when it wakes up, which costs a request and no span."""
    silent = threading.Event()

    def fault(exchange: Exchange) -> None:
        silent.set()
        half_open(exchange)

    with FaultProxy(server.url, lambda number: passes if silent.is_set() else fault) as proxy:
        script = tmp_path / "script.py"
        script.write_text(PREAMBLE + "spans(20)\nsys.stdin.readline()\nspans(20)\nprint(processor.flush())\n")
        environment = os.environ | {
            "OTEL_EXPORTER_SGP_ENDPOINT": proxy.url,
            "OTEL_EXPORTER_SGP_API_KEY": "k",
            "OTEL_EXPORTER_SGP_ACCOUNT_ID": "a",
            "OTEL_EXPORTER_SGP_TIMEOUT": "500",
        }
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, script], env=environment, stdin=pipe, stdout=pipe, text=True)
        try:
            wait_until(silent.is_set)
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.7)  # longer than a request may take
            process.send_signal(signal.SIGCONT)
            said, _ = process.communicate("\n", timeout=20)
        finally:
            process.kill()
            process.wait()
    assert "pending=0, lost={}" in said
    assert [arrived[-1] for arrived in upserts(server.items).values()] == ["end"] * 40


@pytest.mark.parametrize("wall_clock", [0, 4e9], ids=["long ago", "far in the future"])
def test_a_step_of_the_wall_clock_delays_nothing(
    traced: Traced, monkeypatch: pytest.MonkeyPatch, wall_clock: float
) -> None:
    """Lingering, backing off, the server's silence and deadlines are all counted by the clock that never steps."""
    silence = iter([Answer(503, {"retry-after-ms": "100"})])
    with StubServer(lambda request: next(silence, None)) as server:
        provider, processor = traced(server.url, start_delay_millis=20)
        for stepped in (False, True):
            if stepped:
                monkeypatch.setattr(time, "time", lambda: wall_clock)
                monkeypatch.setattr(time, "time_ns", lambda: int(wall_clock * 1e9))
            provider.get_tracer("t").start_span("span").end()
            delivered = 1 + stepped
            wait_until(lambda delivered=delivered: processor.stats().spans_delivered == delivered, 5)  # type: ignore[misc]


def test_a_flush_from_a_coroutine_leaves_the_loop_free(traced: Traced) -> None:
    """`await asyncio.to_thread(processor.flush)`: the server answers only once the loop has done something else."""
    loop_went_on = threading.Event()

    def script(request: Request) -> Answer:
        return Answer(after=lambda: loop_went_on.wait(10))

    async def agent(provider: TracerProvider, processor: ConcurrentBatchSpanProcessor) -> bool:
        with provider.get_tracer("t").start_as_current_span("span"):
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, loop_went_on.set)
        return (await asyncio.to_thread(processor.flush, 5000)).complete

    with StubServer(script) as server:
        assert asyncio.run(agent(*traced(server.url)))


ISOLATED = """
import sys
sys.path[:] = {path!r}
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
processor = ConcurrentBatchSpanProcessor(SGPSpanExporter())
provider = TracerProvider(resource=Resource({{}}), shutdown_on_exit=False)
provider.add_span_processor(processor)
for _ in range(3):
    provider.get_tracer("t").start_span("span").end()
print(processor.flush().complete, flush=True)
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="orjson loads in no subinterpreter since 3.12")
def test_an_interpreter_without_threads_delivers_when_flushed(tmp_path: Path, server: StubServer) -> None:
    """An isolated subinterpreter starts none: it is said once, and whoever flushes sends."""
    done = run(
        tmp_path,
        server.url,
        f"""
        import _xxsubinterpreters
        isolated = _xxsubinterpreters.create(isolated=True)
        _xxsubinterpreters.run_string(isolated, {ISOLATED.format(path=sys.path)!r})
        """,
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["sgp-export-0 does not run"]
    assert complete(server) == 3
