"""One side of a hand-over, as a process of its own: `side.py start` prints tokens, `side.py end` takes them."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter, handoff, resume

processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(timeout_millis=500))
provider = TracerProvider()
provider.add_span_processor(processor)
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("side")
state = processor._pipeline._state


def start(count: int, then: str) -> None:
    """Begin `count` spans below one that ends here; stay until stdin ends, or die at once."""
    with tracer.start_as_current_span("root"):
        spans = [tracer.start_span(f"span {number}", attributes={"number": number}) for number in range(count)]
        for span in spans:
            print(json.dumps(handoff(span)), flush=True)
    if then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
    report()


def end(then: str) -> None:
    """Take over what comes, in any order; leave at once, or stay until every END that was to be repeated is."""
    tokens = [json.loads(line) for line in sys.stdin]
    random.Random(8).shuffle(tokens)
    for token in tokens:
        with resume(token) as span, tracer.start_as_current_span(f"child of {token['span']['name']}"):
            span.set_attribute("resumed", True)
    while then == "stay" and len(state.lanes):
        time.sleep(0.05)
    report()


def report() -> None:
    """What is left, when all is delivered."""
    lost = processor.flush(60_000).lost
    tables = [len(state.open_spans), len(state.handed_off), processor.stats().pending]
    print(json.dumps({"lost": {reason.name: count for reason, count in lost.items()}, "tables": tables}), flush=True)


if sys.argv[1] == "start":
    start(int(sys.argv[3]), sys.argv[2])
else:
    end(sys.argv[2])
