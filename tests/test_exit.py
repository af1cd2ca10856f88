"""What a process leaves behind: scripts that flush nothing, forks, children; each in a process of its own.

The table of scripts is also run on every other interpreter of this machine, by `test_matrix_exit`.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from faults import black_hole, refused
from support import StubServer, upserts

PREAMBLE = """
import multiprocessing, os, signal, sys, threading, time
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


def run(
    directory: Path, url: str, script: str, seconds: float = 30, python: str | Path = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Run `script` after the preamble in a new interpreter, where any warning is an error."""
    path = directory / "script.py"
    path.write_text(PREAMBLE + textwrap.dedent(script))
    environment = os.environ | {
        "OTEL_EXPORTER_SGP_ENDPOINT": url,
        "OTEL_EXPORTER_SGP_API_KEY": "k",
        "OTEL_EXPORTER_SGP_ACCOUNT_ID": "a",
    }
    # Since 3.12 the interpreter itself complains about every fork of a process with threads, which ours are.
    warnings = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    return subprocess.run(
        [python, *warnings, path], env=environment, capture_output=True, text=True, timeout=seconds, cwd=directory
    )


def complete(server: StubServer) -> int:
    """How many spans have both upserts, START first and each once."""
    return sum(arrived == ["start", "end"] for arrived in upserts(server.items).values())


class Exit(NamedTuple):
    """A script, and what must have come of it: complete spans at the server, the status, words on stderr.

    `may_say` is a line that stderr may hold beside those.
    """

    script: str
    delivered: int
    status: int = 0
    said: str = ""
    may_say: str = ""


def _children(method: str, leave: str = "") -> str:
    return f"""
def work():
    spans(20, "child")
    {leave}
if __name__ == "__main__":
    children = [multiprocessing.get_context("{method}").Process(target=work) for _ in range(2)]
    for child in children: child.start()
    for child in children: child.join()
"""


def _forked(leave: str) -> str:
    return f"""
spans(50, "parent before")
child = os.fork()
spans(50, "child" if child == 0 else "parent after")
if child == 0:
    {leave}
os.waitpid(child, 0)
"""


def _pool(method: str) -> str:
    return f"""
def work(number):
    spans(5, f"task {{number}}")
if __name__ == "__main__":
    pool = multiprocessing.get_context("{method}").Pool(2)
    pool.map(work, range(8), chunksize=1)
    pool.close()
    pool.join()
"""


# What cannot be delivered is in here too: whoever reads the table knows what to expect. Where spans begin to flow only
# while the interpreter leaves, some versions start no more threads, say so, and the flush at exit sends by itself.
EXITS = {
    "end of main": Exit("spans(300)", 300),
    "sys.exit": Exit("spans(300); sys.exit(3)", 300, status=3),
    "unhandled exception": Exit("spans(300); raise RuntimeError('it failed')", 300, status=1, said="it failed"),
    "KeyboardInterrupt": Exit(
        "spans(300); os.kill(os.getpid(), signal.SIGINT); time.sleep(30)",
        300,
        status=-signal.SIGINT,
        said="KeyboardInterrupt",
    ),
    "SIGTERM with a handler": Exit(
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(4)); spans(300); os.kill(os.getpid(), 15); time.sleep(30)",
        300,
        status=4,
    ),
    # Python runs nothing on a bare SIGTERM: what was flushed is there, the rest is lost.
    "SIGTERM without a handler": Exit(
        "spans(10); processor.force_flush(); spans(10); os.kill(os.getpid(), 15); time.sleep(30)",
        10,
        status=-signal.SIGTERM,
    ),
    "os._exit": Exit("spans(10); processor.force_flush(); spans(10); os._exit(5)", 10, status=5),
    "threads that outlive main": Exit(
        "for _ in range(4): threading.Thread(target=spans, args=(100,)).start()",
        400,
        may_say="new thread",
    ),
    "asyncio.run": Exit(
        """
import asyncio
async def main():
    spans(20)
    await asyncio.gather(*[asyncio.to_thread(spans, 20) for _ in range(4)])
asyncio.run(main())
        """,
        100,
    ),
    "first span in an exit hook": Exit("import atexit; atexit.register(spans, 20)", 20, may_say="new thread"),
    "os.fork and sys.exit": Exit(_forked("sys.exit()"), 150),
    # The child leaves without a word to anybody: its 50 spans are its own to flush.
    "os.fork and os._exit": Exit(_forked("os._exit(0)"), 100),
    "os.fork, flush and os._exit": Exit(_forked("processor.force_flush(); os._exit(0)"), 150),
    "child that fails": Exit(_children("fork", "raise SystemExit(7)"), 40),
    # `terminate`, which is also how `with Pool(...)` ends, kills the workers with a bare SIGTERM: a task has to flush.
    "pool that is terminated": Exit(
        """
def work(number):
    spans(5, f"task {number}")
    processor.force_flush()
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(work, range(8), chunksize=1)
        """,
        40,
    ),
    "process pool executor": Exit(
        """
import concurrent.futures
if __name__ == "__main__":
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(spans, [5] * 8))
        """,
        40,
    ),
    **{f"{method} children": Exit(_children(method), 40) for method in multiprocessing.get_all_start_methods()},
    **{f"{method} pool": Exit(_pool(method), 40) for method in multiprocessing.get_all_start_methods()},
}


def check(directory: Path, server: StubServer, name: str, python: str | Path = sys.executable) -> None:
    """Run one of `EXITS` and compare what came of it."""
    expected = EXITS[name]
    done = run(directory, server.url, expected.script, python=python)
    assert (complete(server), done.returncode) == (expected.delivered, expected.status), done.stderr
    assert expected.said in done.stderr
    unasked = [line for line in done.stderr.splitlines() if not (expected.may_say and expected.may_say in line)]
    assert expected.said or not unasked


@pytest.mark.parametrize("name", EXITS)
def test_exit(tmp_path: Path, server: StubServer, name: str) -> None:
    """However a process ends, all is delivered, once, or as much as the table admits; nothing is printed about it."""
    check(tmp_path, server, name)


def test_a_provider_that_does_not_shut_down_at_exit_is_drained_all_the_same(tmp_path: Path, server: StubServer) -> None:
    """Delivery at exit does not hang on the provider's own hook."""
    done = run(
        tmp_path,
        server.url,
        """
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        tracer = provider.get_tracer("t")
        spans(10)
        """,
    )
    assert (complete(server), done.stderr) == (10, "")


def test_a_forked_child_sends_its_own_spans_and_none_of_the_parent_s(tmp_path: Path, server: StubServer) -> None:
    """After a fork in the middle of traffic, parent and child each deliver what is theirs, once."""
    run(tmp_path, server.url, EXITS["os.fork and sys.exit"].script)
    names = [item["name"].rpartition(" ")[0] for item in server.items]
    assert {name: names.count(name) for name in names} == {"parent before": 100, "child": 100, "parent after": 100}


def test_a_dead_backend_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    """With nobody listening or nobody answering, the process leaves after some seconds, not after the whole budget."""
    with refused() as nobody_listens, black_hole() as nobody_answers, ThreadPoolExecutor() as pool:
        ends = []
        for number, url in enumerate((nobody_listens, nobody_answers)):
            directory = tmp_path / str(number)
            directory.mkdir()
            ends.append(pool.submit(run, directory, url, "spans(10)", seconds=12))
        assert [end.result().returncode for end in ends] == [0, 0]
