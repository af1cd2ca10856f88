"""The two workers of an expense claim: `intake` starts its spans, `approval` ends them, in another process.

    python examples/temporal_style/worker.py intake queue.sqlite
    python examples/temporal_style/worker.py approval queue.sqlite

They share a queue and nothing else; what travels through it is plain JSON. For Temporal, think of two activities and
of a workflow that carries the tokens from one to the other: docs/temporal.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from durable_queue import DurableQueue, Task
from opentelemetry import trace

from otel_sgp_exporter import configure, handoff, resume

LEASE_SECONDS = 2.0
processor = configure()  # None where tracing is switched off
tracer = trace.get_tracer("expenses")


def delivered() -> None:
    """Wait until SGP has what this worker has said so far: it may be killed as soon as its task is done."""
    if processor is not None:
        processor.flush()


def intake(queue: DurableQueue, task: Task, think_seconds: float) -> None:
    """Takes a claim in. What it opens stays open, in SGP too, until somebody has decided."""
    number = task.payload["claim"]
    claim = tracer.start_span(f"expense claim {number}", attributes={"sgp.type": "AGENT_WORKFLOW"})
    with trace.use_span(claim):
        with tracer.start_as_current_span("check policy"):
            time.sleep(think_seconds / 4)
        approval = tracer.start_span("human approval", attributes={"sgp.input": f"claim {number}: 42 EUR, lunch"})
    delivered()
    spans = {"claim": handoff(claim), "approval": handoff(approval)}  # once all is on them
    queue.put("approval", {"claim": number, "spans": spans}, instead_of=task)
    print(f"handed over {number}", flush=True)


def approval(queue: DurableQueue, task: Task, think_seconds: float) -> None:
    """Decides, a day later or after the one who had begun to was killed: the same spans, the same ids."""
    spans = task.payload["spans"]
    with resume(spans["claim"]):
        with resume(spans["approval"]) as span:
            print(f"deciding {task.payload['claim']}", flush=True)
            time.sleep(think_seconds)
            span.set_attribute("sgp.output", "approved")
        with tracer.start_as_current_span("pay out"):
            time.sleep(think_seconds / 4)
    delivered()
    queue.done(task)


ROLES = {"intake": intake, "approval": approval}


def main() -> None:
    parser = argparse.ArgumentParser(description="Work on expense claims until killed.")
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("database", type=Path)
    parser.add_argument("--think-seconds", type=float, default=0.4)
    options = parser.parse_args()

    queue = DurableQueue(options.database)
    while True:
        task = queue.claim(options.role, LEASE_SECONDS)
        if task is not None:
            ROLES[options.role](queue, task, options.think_seconds)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
