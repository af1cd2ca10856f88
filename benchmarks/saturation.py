"""How much of the possible throughput is used: PUT/s with every sender busy, as a share of Little's limit.

The server takes 150 ms for each request; with 8 in flight nobody can do more than 8 / 0.15 = 53.3 PUT/s. Measured
between the first and the last answer of the saturated stretch, as the server saw it. Medians of several runs.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter

LATENCY_SECONDS = 0.15
IN_FLIGHT = 8
SPANS = 20_000
RUNS = 3


def saturate() -> tuple[float, int]:
    """One run: PUT/s and the most requests in flight."""
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("stub_server.py"), str(LATENCY_SECONDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    port = server.stdout.readline().strip()
    exporter = SGPSpanExporter(endpoint=f"http://127.0.0.1:{port}", api_key="k", account_id="a")
    processor = ConcurrentBatchSpanProcessor(exporter, 2 * SPANS, max_concurrent_exports=IN_FLIGHT)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("benchmark")
    for number in range(SPANS):
        tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat", "number": number}).end()
    provider.shutdown()
    assert processor.stats().delivered == 2 * SPANS, processor.stats()
    seen = json.loads(server.communicate()[0])
    began = sorted(request[0] for request in seen["requests"])
    # From the first request to the beginning of the last full round: after it senders run out of work.
    return (len(began) - IN_FLIGHT) / (began[-IN_FLIGHT] - began[0]), seen["most_in_flight"]


def main() -> None:
    limit = IN_FLIGHT / LATENCY_SECONDS
    runs = [saturate() for _ in range(RUNS)]
    for rate, most in runs:
        print(f"{rate:6.1f} PUT/s, {most} in flight at most, {rate / limit:6.1%} of {limit:.1f}")
    print(f"median: {statistics.median(rate for rate, _ in runs) / limit:.1%} of the limit")


if __name__ == "__main__":
    main()
