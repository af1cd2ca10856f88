"""Chatbots whose every turn sends the whole history again, for some minutes, over a network that fails at random.

    python benchmarks/soak.py [MINUTES] [--ceiling MIB] [--seed N]

What must hold: the memory of the traced process stays under the ceiling, every record is counted once, and at the end
every span that ended and was not counted as lost is complete at the server. Exits with 1 when one of them does not.

The server and the proxy with the faults live in a process of their own. Faults come singly (one request in seven) and
as outages (five seconds in every twenty). The last requests, at shutdown, meet no faults.
"""

import argparse
import json
import multiprocessing
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faults import (
    Fault,
    FaultProxy,
    applied_late,
    applied_then_dropped,
    drips,
    half_open,
    passes,
    reset_after_body,
    reset_before_body,
    status,
)
from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import Request, StubServer

CHATBOTS = 8
TURNS = 30
PAUSE_SECONDS = 0.05
MESSAGE = "The quick brown fox jumps over the lazy dog. " * 40  # 1.8 KB
REQUEST_MILLIS = 2000
LATENCY_SECONDS = 0.05
CEILING_MIB = 160
OUTAGE_EVERY_SECONDS, OUTAGE_SECONDS = 20, 5


class Seen(NamedTuple):
    """What the server and the proxy have seen in the end."""

    rows: int
    complete: int
    requests: int
    faults: Counter[str]


class Backend:
    """A server that keeps one bit per row, the last write's, behind a proxy that fails at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._began = time.monotonic()
        self._is_complete: dict[str, bool] = {}
        self._faults: Counter[str] = Counter()
        self._calm = False
        self._single = {
            "reset before the body": reset_before_body,
            "reset after the body": reset_after_body,
            "applied, answer lost": applied_then_dropped,
            "applied late": applied_late(lambda: time.sleep(1)),
            "half-open": half_open,
            "drips": drips(0.005),
            "502": status(502),
            "429, Retry-After 1": status(429, {"retry-after": "1"}),
        }
        self._outages = (
            {"outage: 503, Retry-After 2": status(503, {"retry-after": "2"})},
            {"outage: half-open": half_open},
            {"outage: reset": reset_before_body},
        )

    def run(self, pipe: Connection) -> None:
        """Sends the URL, waits to be told that the end is near, then that it is here, and sends what was seen."""
        with StubServer(self._remember, LATENCY_SECONDS) as server, FaultProxy(server.url, self._fault) as proxy:
            self._proxy, self._server = proxy, server
            pipe.send(proxy.url)
            pipe.recv()
            self._calm = True
            pipe.recv()
        complete = sum(self._is_complete.values())
        pipe.send(Seen(len(self._is_complete), complete, sum(self._faults.values()), self._faults))

    def _remember(self, request: Request) -> None:
        for item in request.items:
            self._is_complete[item["id"]] = item.get("end_timestamp") is not None
        request.items.clear()
        self._server.requests.clear()
        self._proxy.seen.clear()

    def _fault(self, number: int) -> Fault:
        name, fault = self._pick()
        self._faults[name] += 1
        return fault

    def _pick(self) -> tuple[str, Fault]:
        cycle, second = divmod(time.monotonic() - self._began, OUTAGE_EVERY_SECONDS)
        if self._calm:
            return "none", passes
        if second > OUTAGE_EVERY_SECONDS - OUTAGE_SECONDS:
            return next(iter(self._outages[int(cycle) % len(self._outages)].items()))
        if self._random.random() < 1 / 7:
            return self._random.choice(list(self._single.items()))
        return "none", passes


def serve(pipe: Connection, seed: int) -> None:
    Backend(seed).run(pipe)


def chat(tracer: Tracer, done: threading.Event, ended: Callable[[int], None]) -> None:
    """Conversation after conversation; each turn is a model call with all messages so far and a tool call."""
    while not done.is_set():
        history: list[dict[str, str]] = []
        with tracer.start_as_current_span("conversation"):
            for number in range(TURNS):
                history.append({"role": "user", "content": f"{number}: {MESSAGE}"})
                call = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(history)}
                with tracer.start_as_current_span("chat model", attributes=call) as span:
                    span.set_attribute("gen_ai.output.messages", json.dumps(history[-1:]))
                    with tracer.start_as_current_span("execute_tool search"):
                        pass
                history.append({"role": "assistant", "content": f"{number}: {MESSAGE}"})
                ended(2)
                if done.wait(PAUSE_SECONDS):
                    break
        ended(1)


def rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def soak(url: str, minutes: float, calm: Callable[[], None]) -> tuple[ConcurrentBatchSpanProcessor, int, float]:
    """Runs the chatbots and shuts down; the processor, how many spans ended, and by how many MiB memory grew."""
    exporter = SGPSpanExporter(endpoint=url, api_key="k", account_id="a", timeout_millis=REQUEST_MILLIS)
    processor = ConcurrentBatchSpanProcessor(exporter)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    ends: Counter[str] = Counter()
    lock, done = threading.Lock(), threading.Event()

    def ended(count: int) -> None:
        with lock:
            ends["spans"] += count

    before, most = rss_mib(), 0.0
    chatbots = [threading.Thread(target=chat, args=(provider.get_tracer("soak"), done, ended)) for _ in range(CHATBOTS)]
    for chatbot in chatbots:
        chatbot.start()
    print(f"{'s':>5} {'spans':>8} {'delivered':>10} {'superseded':>10} {'dropped':>8} {'pending':>8} {'RSS +MiB':>9}")
    began = time.monotonic()
    seconds = 0
    while seconds < minutes * 60:
        time.sleep(1)
        seconds = round(time.monotonic() - began)
        most = max(most, rss_mib() - before)
        if seconds % 10 == 0:
            stats = processor.stats()
            print(
                f"{seconds:5} {ends['spans']:8} {stats.delivered:10} {stats.superseded:10} {stats.dropped:8} "
                f"{stats.pending:8} {rss_mib() - before:9.1f}",
                flush=True,
            )
    done.set()
    for chatbot in chatbots:
        chatbot.join()
    calm()
    processor.flush(90_000)  # longer than any Retry-After
    processor.shutdown()
    return processor, ends["spans"], max(most, rss_mib() - before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("minutes", nargs="?", type=float, default=3)
    parser.add_argument("--ceiling", type=float, default=CEILING_MIB, help="by how many MiB memory may grow")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, arguments.seed), daemon=True)
    server.start()
    processor, spans, grown_mib = soak(pipe.recv(), arguments.minutes, lambda: pipe.send("calm"))
    pipe.send("end")
    seen: Seen = pipe.recv()
    server.join()
    stats = processor.stats()
    lost = sum(stats.lost.values())
    print(f"\n{seen.requests} requests met: " + ", ".join(f"{name} {n}" for name, n in seen.faults.most_common()))
    print(f"{stats}\n")
    ended = stats.delivered + stats.superseded + stats.rejected + stats.dropped + stats.spooled
    checks = {
        f"memory grew by {grown_mib:.0f} MiB, at most {arguments.ceiling:.0f}": grown_mib <= arguments.ceiling,
        f"{stats.offered} records offered for {spans} spans": stats.offered == 2 * spans,
        f"{ended} ended and {stats.pending} pending": (ended, stats.pending) == (stats.offered, 0),
        f"{seen.complete} rows complete, {spans} spans less {lost} lost": seen.complete >= spans - lost,
    }
    for what, holds in checks.items():
        print("ok  " if holds else "FAIL", what)
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
