"""Locks that are as old as the first span and no older: gevent may patch whatever was not made before."""

import queue
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_sgp_exporter import ConcurrentBatchSpanProcessor
from support import StubServer
from test_exit import complete, run

Traced = Callable[..., tuple[TracerProvider, ConcurrentBatchSpanProcessor]]


def test_what_threads_wait_for_is_made_with_the_first_span(
    server: StubServer, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock from before the patch holds up all greenlets when one of them waits for it."""
    made: list[str] = []

    def noting(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            made.append(f"{sys._getframe(1).f_globals['__name__']} {name}")
            return make(*args, **options)

        return noted

    for module, name in ((threading, "Lock"), (threading, "Condition"), (queue, "SimpleQueue")):
        monkeypatch.setattr(module, name, noting(name, getattr(module, name)))
    provider, processor = traced(server.url)
    assert [each for each in made if each.startswith("otel_sgp_exporter")] == []
    provider.get_tracer("t").start_span("span").end()
    guard = "otel_sgp_exporter._guard"
    assert {f"{guard} Lock", f"{guard} Condition", f"{guard} SimpleQueue"} <= set(made)
    assert processor.force_flush()


PATCH = "from gevent import monkey; monkey.patch_all()"
IMPORT = "from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter"
MAKE = """
from opentelemetry.sdk.trace import TracerProvider
processor = ConcurrentBatchSpanProcessor(SGPSpanExporter())
provider = TracerProvider()
provider.add_span_processor(processor)
tracer = provider.get_tracer("t")
"""
WORK = """
import faulthandler, gevent
faulthandler.dump_traceback_later(20, exit=True)
def work():
    for _ in range(20):
        tracer.start_span("span").end()
        gevent.sleep(0.001)
gevent.joinall([gevent.spawn(work) for _ in range(5)])
print(processor.flush(5000).complete)
"""


@pytest.mark.parametrize(
    "order",
    [(PATCH, IMPORT, MAKE), (IMPORT, PATCH, MAKE), (IMPORT, MAKE, PATCH)],
    ids=["first", "after the import", "after the set-up"],
)
def test_greenlets_go_on_whenever_gevent_patches(tmp_path: Path, server: StubServer, order: tuple[str, ...]) -> None:
    """`opentelemetry-instrument` and gunicorn's preload set up before the worker patches."""
    pytest.importorskip("gevent")
    script = tmp_path / "main.py"
    script.write_text("\n".join([*order, WORK]))
    done = run(
        tmp_path,
        server.url,
        textwrap.dedent("""
        import subprocess
        sys.exit(subprocess.run([sys.executable, "-W", "ignore", "main.py"]).returncode)
    """),
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
    assert complete(server) == 100


def test_a_signal_handler_in_gevent_s_hub_gets_no_exception(tmp_path: Path) -> None:
    """Nothing may wait there, and no greenlet runs meanwhile: what is left is counted as lost."""
    pytest.importorskip("gevent")
    script = tmp_path / "main.py"
    handler = """
import signal
def handle(*_):
    processor.stats()
    processor.force_flush(100)
    processor.shutdown(100)
    print(gevent.getcurrent() is gevent.get_hub())
signal.signal(signal.SIGALRM, handle)
tracer.start_span("span").end()
signal.setitimer(signal.ITIMER_REAL, 0.4)
gevent.sleep(1)
"""
    script.write_text("\n".join([PATCH, IMPORT, MAKE, "import gevent", handler]))
    with StubServer(latency_seconds=1) as server:
        done = run(
            tmp_path,
            server.url,
            """
            import subprocess
            sys.exit(subprocess.run([sys.executable, "-W", "ignore", "main.py"]).returncode)
            """,
        )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
