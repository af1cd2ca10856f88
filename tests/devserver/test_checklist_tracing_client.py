"""Checklist items 51 to 55: scale_gp_beta.lib.tracing, unmodified, each test in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sgp_client import Sgp


def run(sgp: Sgp, program: str, account: str = "acme") -> None:
    """Run a traced program against the server, to its end; flushing at exit is part of it."""
    environment = {
        **os.environ,
        "SGP_API_KEY": "key",
        "SGP_ACCOUNT_ID": account,
        "SGP_CLIENT_BASE_URL": sgp.server.url,
    }
    environment.pop("DISABLE_SCALE_TRACING", None)
    prelude = "from scale_gp_beta.lib.tracing import create_span, create_trace, flush_queue\n"
    done = subprocess.run([sys.executable, "-c", prelude + program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def spans(sgp: Sgp) -> dict[str, Any]:
    return {span["name"]: span for span in sgp.server.spans()}


def test_tree(sgp: Sgp) -> None:
    """Item 51: a tree with its inherited group id, a TRACER at its root, and the error in the metadata."""
    run(
        sgp,
        """
try:
    with create_trace("root", group_id="g"):
        with create_span("child", span_type="COMPLETION", input={"q": 1}) as child:
            child.output = {"r": 2}
        with create_span("broken"):
            raise RuntimeError("boom")
except RuntimeError:
    pass
flush_queue()
""",
    )
    found = spans(sgp)
    root, child, broken = found["root"], found["child"], found["broken"]
    assert (root["type"], root["parent_id"]) == ("TRACER", None)
    assert (child["type"], child["parent_id"], child["output"]) == ("COMPLETION", root["id"], {"r": 2})
    assert {span["group_id"] for span in found.values()} == {"g"}
    assert {span["trace_id"] for span in found.values()} == {root["trace_id"]}
    assert (broken["status"], broken["metadata"]["error_type"]) == ("ERROR", "RuntimeError")
    assert all(span["end_timestamp"] for span in found.values())


def test_two_identical_items(sgp: Sgp) -> None:
    """Items 52 and 54: a short span is sent twice in one batch and is one row; what is left is flushed at exit."""
    run(sgp, 'with create_trace("root"):\n    pass\n')
    stats = sgp.server.stats()
    assert (stats["requests"], stats["batch_sizes"]) == (1, {2: 1})
    assert (stats["distinct_ids"], stats["statuses"]) == (1, {200: 1})


def test_start_then_end(sgp: Sgp) -> None:
    """Item 53: flushed in between, a span is seen in progress, then complete."""
    run(sgp, 'with create_trace("root"):\n    flush_queue()\nflush_queue()\n')
    (row,) = sgp.server.stats(spans(sgp)["root"]["id"])["spans"]
    assert (row["starts"], row["ends"], row["late_starts"]) == (1, 1, 0)


def test_batches_of_fifty(sgp: Sgp) -> None:
    """Item 54: 130 spans are 260 items in six requests."""
    run(
        sgp,
        """
with create_trace("root"):
    for n in range(129):
        with create_span(str(n)):
            pass
""",
    )
    stats = sgp.server.stats()
    assert (stats["items"], stats["distinct_ids"]) == (260, 130)
    assert max(stats["batch_sizes"]) == 50


def test_span_with_preset_times(sgp: Sgp) -> None:
    """Item 54: a span is flushed by itself, with the times it was given."""
    run(
        sgp,
        """
span = create_span("preset", trace_id="t")
span.start_time, span.end_time = "2026-11-20T10:00:00+00:00", "2026-11-20T10:00:01+00:00"
span.flush()
""",
    )
    assert spans(sgp)["preset"]["end_timestamp"] == "2026-11-20T10:00:01Z"


def test_retries_of_the_tracing_client(serve: Callable[..., Sgp]) -> None:
    """Item 55: a batch answered 422 is sent 4 times, one answered 503 12 times."""
    sgp = serve()
    for account, status in (("a", 422), ("b", 503)):
        sgp.server.fault(status=status, account=account, times=None, headers={"retry-after-ms": "1"})
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda account: run(sgp, 'create_trace("root").start()', account), "ab"))
    assert sgp.server.stats()["statuses"] == {422: 4, 503: 12}
