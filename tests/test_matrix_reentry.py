"""The processor called by many at once, from inside an export, from signal handlers, from finalisers."""

import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from linecache import getline
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from faults import behind, black_hole, status
from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import StubServer, settings, upserts, wait_until
from test_deadlines import GRACE_SECONDS, assert_conserved, in_flight, seconds, traced_to
from test_exit import run

PACKAGE = "otel_sgp_exporter"


@pytest.mark.parametrize("cancels", [True, False])
def test_callers_at_the_same_time_all_return(server: StubServer, cancels: bool) -> None:
    """Flushes, shutdowns, counts and spans from twenty threads at once: nobody is stuck, nothing is miscounted."""
    tracer, processor = traced_to(server.url, schedule_delay_millis=1, cancel_open_spans=cancels)

    def call(number: int) -> None:
        for _ in range(20):
            tracer.start_span("span").end()
            (processor.force_flush, processor.flush, lambda _: processor.stats())[number % 3](1000)
        processor.shutdown(1000)

    threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    stats = processor.stats()
    # The span that a thread has open when another shuts down is canceled, and ends once more after.
    assert 800 <= stats.offered <= (820 if cancels else 800)
    assert_conserved(processor, stats.offered)
    assert stats.pending == 0


def test_shutdown_during_a_flush_ends_the_flush() -> None:
    """A flush that waits for a dead backend does not outlast the shutdown."""
    with black_hole() as url:
        tracer, processor = traced_to(url, schedule_delay_millis=60_000)
        tracer.start_span("span").end()
        with ThreadPoolExecutor(1) as pool:
            flushed = pool.submit(processor.flush, 10_000)
            wait_until(lambda: in_flight(processor) == 1)  # because of the flush
            processor.shutdown(100)
            assert flushed.result(1).complete is False
        assert_conserved(processor, 2)


@pytest.mark.parametrize("senders", [1, 8])
@pytest.mark.parametrize("method", ["force_flush", "shutdown"])
def test_a_call_from_inside_an_export_does_not_wait_for_that_export(
    server: StubServer, method: str, senders: int
) -> None:
    """A redactor or an api_key callable that flushes, or shuts down, would wait for the request it holds up itself."""
    took: list[float] = []

    def redact(item: dict[str, Any]) -> dict[str, Any]:
        took.append(seconds(getattr(processor, method)))
        return item

    processor = ConcurrentBatchSpanProcessor(
        SGPSpanExporter(**settings(server.url), redact=redact), max_concurrent_exports=senders
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("span").end()
    processor.flush(3000)
    wait_until(lambda: bool(took))
    assert max(took) < GRACE_SECONDS
    processor.shutdown(1000)
    assert_conserved(processor, 2)


def test_a_log_handler_that_flushes_and_makes_spans_does_no_harm(
    server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Our own log line may end in a handler that starts a span and flushes it: it happens in the sender."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())
            if len(seen) < 20:
                tracer.start_span("logged").end()
                processor.force_flush(30_000)

    seen: list[str] = []
    with behind(status(422, body=b'{"detail":"no"}')) as url:
        tracer, processor = traced_to(url)
        handler = Handler()
        logging.getLogger("otel_sgp_exporter").addHandler(handler)
        try:
            tracer.start_span("span").end()
            assert seconds(lambda: processor.force_flush(3000)) < 3
            assert seconds(lambda: processor.shutdown(1000)) < 1 + GRACE_SECONDS
        finally:
            logging.getLogger("otel_sgp_exporter").removeHandler(handler)
        assert 0 < len(seen) < 20
        stats = processor.stats()
        assert_conserved(processor, stats.offered)


# In the main thread of a process of its own, since only there do signal handlers run.

ALARM = """
import faulthandler
faulthandler.dump_traceback_later(10, exit=True)
calls = 0
def alarmed(*_):
    global calls
    calls += 1
    handle()
    if time.monotonic() < until:
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
until = time.monotonic() + 1.5
signal.signal(signal.SIGALRM, alarmed)
signal.setitimer(signal.ITIMER_REAL, 0.01)
"""


@pytest.mark.parametrize(
    ("handler", "main"),
    [
        pytest.param("processor.force_flush(5)", "tracer.start_span('span').end()", id="flush while spans are made"),
        pytest.param("processor.force_flush(5)", "spans(3); processor.force_flush(100)", id="flush while flushing"),
        pytest.param("processor.stats()", "spans(3); processor.stats()", id="stats while spans are made"),
        pytest.param("processor.shutdown(5)", "spans(3); processor.shutdown(100)", id="shutdown while shutting down"),
        pytest.param("spans(2)", "spans(3); processor.force_flush(100)", id="spans while flushing"),
    ],
)
def test_signal_handlers_may_do_anything(tmp_path: Path, server: StubServer, handler: str, main: str) -> None:
    """A handler runs between any two instructions of the main thread, also while that thread is inside of us."""
    done = run(
        tmp_path,
        server.url,
        f"{ALARM}\ndef handle(): {handler}\nwhile time.monotonic() < until: {main}\n"
        # Spans that a handler makes while the last shutdown runs may come too late for it.
        f"{'signal.signal(signal.SIGALRM, signal.SIG_IGN)' if 'spans' in handler else ''}\n"
        "processor.shutdown()\nprint(calls > 20, processor.stats().pending)\n",
    )
    assert done.stdout == "True 0\n", done.stderr
    assert "Traceback" not in done.stderr
    if "shutdown" not in handler:  # what ends after a shutdown is not delivered
        assert {arrived[-1] for arrived in upserts(server.items).values()} == {"end"}


def test_a_signal_handler_that_runs_for_longer_than_a_wait_has_time_does_not_prolong_it(tmp_path: Path) -> None:
    """Up to Python 3.12, `SimpleQueue.get` and with it the application would wait for ever."""
    with black_hole() as url:
        done = run(
            tmp_path,
            url,
            """
            import faulthandler
            faulthandler.dump_traceback_later(10, exit=True)
            signal.signal(signal.SIGALRM, lambda *_: time.sleep(0.3))
            spans(1)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            print(processor.force_flush(200))
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            processor.shutdown(200)
            """,
        )
    assert done.stdout == "False\n", done.stderr
    assert "Timeout" not in done.stderr


def test_an_interrupted_flush_leaves_no_haste_behind(tmp_path: Path) -> None:
    """Ctrl-C in a flush ends the flush; later spans are sent together again, not one by one."""
    with StubServer(latency_seconds=0.3) as server:
        done = run(
            tmp_path,
            server.url,
            """
            spans(1)
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                processor.force_flush()
            except KeyboardInterrupt:
                print("interrupted")
            processor.force_flush()
            time.sleep(0.5)
            for number in range(40):
                spans(1, "later")
                time.sleep(0.005)
            """,
        )
        assert (done.stdout, done.stderr) == ("interrupted\n", "")
        assert sum(request.names[0].startswith("later") for request in server.requests) < 10


@pytest.mark.parametrize("during", ["spans(100000)", "spans(3000); processor.force_flush()", "processor.shutdown()"])
def test_sigterm_at_any_moment_delivers(tmp_path: Path, server: StubServer, during: str) -> None:
    """A handler that exits raises SystemExit out of wherever we are; what had ended before is delivered."""
    for attempt in range(4):
        done = run(
            tmp_path,
            server.url,
            f"""
            import atexit
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            atexit.unregister(provider.shutdown)
            atexit.register(lambda: print(processor.flush(20000).pending))
            spans(50, "attempt {attempt}")
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGTERM)).start()
            {during}
            while True:  # a signal that comes just before a sleep is heard of after it
                time.sleep(0.1)
            """,
        )
        assert (done.stdout, done.returncode, done.stderr) == ("0\n", 0, "")
        names = [item["name"] for item in server.items if item.get("end_timestamp")]
        assert sum(name.startswith(f"attempt {attempt} ") for name in names) == 50


class Struck(BaseException):
    """As KeyboardInterrupt, or SystemExit out of a signal handler."""


def struck_at_line(number: int, call: Callable[[], object]) -> bool:
    """Whether the call came so far as to be struck at its nth line in our code, `threading` or `contextlib`."""
    lines = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal lines
        if (
            not frame.f_code.co_filename.endswith(("threading.py", "contextlib.py"))
            and PACKAGE not in frame.f_code.co_filename
        ):
            return None
        # Between the end of a block and the exit of its `with`, or the call in its `finally`, no handler runs.
        line = getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        if event == "line" and not line.startswith("with ") and ".discard(" not in line:
            lines += 1
            if lines == number:
                sys.settrace(None)
                raise Struck
        return trace

    try:
        sys.settrace(trace)
        call()
    except Struck:
        return True
    finally:
        sys.settrace(None)
    return False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a connection that was being closed
@pytest.mark.parametrize("method", ["flush", "shutdown"])
def test_an_exception_that_strikes_anywhere_leaves_everything_whole(server: StubServer, method: str) -> None:
    """Out of a signal handler, in the thread that flushes: nothing is lost, locked, miscounted or hurried for ever."""
    for number in count(1):
        tracer, processor = traced_to(server.url, schedule_delay_millis=60_000)
        tracer.start_span(f"first {number}").end()
        tracer.start_span(f"second {number}").end()
        was_struck = struck_at_line(number, getattr(processor, method))
        if method == "flush":
            assert not processor._pipeline._state.hurries
        assert processor.flush(5000).pending == 0
        assert processor.stats().delivered == 4
        assert_conserved(processor, 4)
        processor.shutdown(1000)
        if not was_struck:
            break
    assert number > 100


def test_a_finaliser_may_end_spans_and_flush(tmp_path: Path, server: StubServer) -> None:
    """The collector runs finalisers between any two instructions, also while that thread is inside of us."""
    done = run(
        tmp_path,
        server.url,
        """
        import faulthandler, gc
        faulthandler.dump_traceback_later(10, exit=True)
        gc.set_threshold(20, 2, 2)
        class Forgotten:
            def __init__(self):
                self.me, self.span = self, tracer.start_span("forgotten")
            def __del__(self):
                self.span.end()
                processor.force_flush(1)
        until = time.monotonic() + 1.5
        made = 0
        while time.monotonic() < until:
            Forgotten()
            tracer.start_span("span").end()
            made += 2
        gc.collect()
        processor.shutdown()
        stats = processor.stats()
        print(stats.offered == 2 * made, stats.pending, stats.lost)
        """,
    )
    assert (done.stdout, done.stderr) == ("True 0 {}\n", "")
