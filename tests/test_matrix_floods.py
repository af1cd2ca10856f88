"""More than fits: threads flat out, spans larger than the queue, stacks without room, a full queue at shutdown."""

import contextlib
import logging
import sys
import threading
import time
import tracemalloc
from pathlib import Path

from opentelemetry.trace import set_span_in_context

from support import Request, StubServer, wait_until
from test_deadlines import assert_conserved, in_flight, traced_to
from test_exit import run

FLOOD = """
import faulthandler
faulthandler.dump_traceback_later(25, exit=True)
flooding = True
made = 0
def flood():
    global made
    while flooding:
        tracer.start_span("flood", attributes={"text": "x" * 200}).end()
        made += 1
for _ in range(8): threading.Thread(target=flood, daemon=True).start()
"""


def test_a_flood_from_daemon_threads_does_not_hold_up_the_exit(tmp_path: Path, server: StubServer) -> None:
    """They go on until the interpreter is gone: nobody may wait for the last of their spans."""
    began = time.monotonic()
    done = run(tmp_path, server.url, FLOOD + "spans(10, 'main')\ntime.sleep(0.2)\n")
    assert done.returncode == 0, done.stderr[-2000:]
    assert time.monotonic() - began < 15


def test_two_thousand_threads_with_a_span_each(server: StubServer) -> None:
    """Threads that live for one span lose none."""
    tracer, processor = traced_to(server.url)
    for _ in range(20):
        threads = [threading.Thread(target=lambda: tracer.start_span("span").end()) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert processor.flush(10_000).complete
    assert processor.stats().delivered == 4000


def test_spans_at_the_recursion_limit_leave_nothing_pending(server: StubServer) -> None:
    """An agent that recurses too deep makes its last span where even our calls have no stack left."""
    tracer, processor = traced_to(server.url)

    def dive(depth: int) -> None:
        if depth:
            dive(depth - 1)
        else:
            tracer.start_span("deep").end()

    logging.getLogger("otel_sgp_exporter").setLevel(logging.CRITICAL)
    limit = sys.getrecursionlimit()
    for depth in range(limit - 150, limit):
        with contextlib.suppress(RecursionError):
            dive(depth)
    logging.getLogger("otel_sgp_exporter").setLevel(logging.NOTSET)
    assert processor.flush(3000).pending == 0
    tracer.start_span("after").end()
    processor.shutdown(1000)
    assert "after" in [item["name"] for item in server.items]


def test_markers_for_open_spans_do_not_push_out_spans_that_ended() -> None:
    """At shutdown with a full queue, what ended goes first: that a span was open is only said where there is room."""
    go_on = threading.Event()
    go_on.set()

    def script(request: Request) -> None:
        go_on.wait(10)

    with StubServer(script) as server:
        # A queue of 100, batches of 50 after 5 ms.
        tracer, processor = traced_to(server.url, 100, 5, 50, max_concurrent_exports=1)
        root = tracer.start_span("root")
        open_spans = [tracer.start_span(f"open {number}") for number in range(59)]
        assert processor.force_flush()
        go_on.clear()
        for number in range(50):
            tracer.start_span(f"ended {number}", context=set_span_in_context(root)).end()
        wait_until(lambda: in_flight(processor) == 1)
        threading.Timer(0.3, go_on.set).start()
        processor.shutdown(5000)
        assert_conserved(processor, 2 * 110)
        delivered = [item["name"] for item in server.items if item.get("end_timestamp")]
        assert sum(name.startswith("ended") for name in delivered) == 50
        assert len(open_spans) == 59  # they live until here


def test_the_memory_of_an_encoded_record_is_what_it_is_charged_with() -> None:
    """An encoder may hand out a few hundred bytes in a buffer of four thousand; what is kept is a copy that fits."""
    with StubServer(lambda request: request.items.clear()) as server:
        tracer, processor = traced_to(server.url)
        tracer.start_span("first").end()
        processor.force_flush()
        tracemalloc.start()
        try:
            for _ in range(3000):
                tracer.start_span("open")  # what SGP shows as running is kept, encoded, to be closed at shutdown
            processor.force_flush()
            server.requests.clear()
            kept_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        processor.shutdown(1000)
    assert kept_bytes / 3000 < 2500
