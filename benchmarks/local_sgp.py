"""How many spans a second the local SGP takes: `python benchmarks/local_sgp.py [PROFILE]`.

Four connections send prepared batches to a server in a process of its own. The processor time that a span costs does
not depend on what else the machine does.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

CONNECTIONS = 4
SPANS = 24_000
HEADERS = {"x-api-key": "local", "x-selected-account-id": "local", "content-type": "application/json"}
SERVE = """
import resource, sys
from otel_sgp_exporter.devserver import DevServer
def seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
with DevServer(profile=sys.argv[1]) as server:
    before = seconds()
    print(server.url.rpartition("/")[2], flush=True)
    sys.stdin.read()
    print(seconds() - before)
"""
ANSWER = "Oslo is colder than Lisbon: it snows there, at three degrees below zero. " * 12


def span() -> dict[str, object]:
    """An LLM call of about 1.6 kB."""
    return {
        "id": str(uuid4()),
        "trace_id": str(uuid4()),
        "name": "chat a-model",
        "type": "COMPLETION",
        "start_timestamp": "2026-11-20T10:00:00.123456Z",
        "end_timestamp": "2026-11-20T10:00:01.123456Z",
        "input": {"messages": [{"role": "user", "content": ANSWER[:300]}]},
        "output": {"content": ANSWER, "usage": {"input_tokens": 90, "output_tokens": 200}},
        "metadata": {"model": "a-model", "provider": "nobody"},
    }


def send(address: str, bodies: list[bytes]) -> None:
    connection = http.client.HTTPConnection(address)
    for body in bodies:
        connection.request("PUT", "/v5/spans/batch", body, HEADERS)
        reply = connection.getresponse()
        assert reply.status == 200, reply.read()
        reply.read()
    connection.close()


def measure(profile: str, batch: int, spans: int) -> None:
    bodies = [json.dumps({"items": [span() for _ in range(batch)]}).encode() for _ in range(spans // batch)]
    command = [sys.executable, "-c", SERVE, profile]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        began = time.monotonic()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(send, [address] * CONNECTIONS, [bodies[n::CONNECTIONS] for n in range(CONNECTIONS)]))
        taken = time.monotonic() - began
        server.stdin.close()
        cpu = float(server.stdout.readline())
    size = sum(map(len, bodies)) // spans
    rates = f"{spans / taken:,.0f} spans/s, {spans / batch / taken:,.0f} requests/s"
    print(
        f"{profile}, {batch} spans of {size} bytes a request: {rates}, {cpu / spans * 1e6:.0f} µs of processor a span"
    )


if __name__ == "__main__":
    for batch, spans in ((200, SPANS), (50, SPANS), (1, SPANS // 8)):
        measure(sys.argv[1] if len(sys.argv) > 1 else "tracing-pg", batch, spans)
