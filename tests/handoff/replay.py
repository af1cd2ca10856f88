"""A worker that takes a workflow over: its history is replayed by Temporal's own Replayer, which needs no server."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from opentelemetry import trace
    from temporalio.client import WorkflowHistory
    from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, create_tracer_provider
    from temporalio.worker import Replayer

    from otel_sgp_exporter import configure


@workflow.defn
class Waits:
    """One span ended long ago; the other is open when this worker gets the workflow, and ends here."""

    @workflow.run
    async def run(self) -> None:
        tracer = trace.get_tracer("workflow")
        tracer.start_span("before").end()
        with tracer.start_as_current_span("around"):
            await workflow.sleep(timedelta(hours=1))


def event(number: int, kind: str, **attributes: Any) -> dict[str, Any]:
    name, *rest = kind.lower().split("_")
    field = f"{name}{''.join(map(str.capitalize, rest))}EventAttributes"
    when = f"2026-11-20T{10 + (number > 5)}:00:0{number}Z"
    return {"eventId": str(number), "eventTime": when, "eventType": f"EVENT_TYPE_{kind}", field: attributes}


QUEUE = {"name": "queue"}
HISTORY = [
    event(
        1,
        "WORKFLOW_EXECUTION_STARTED",
        workflowType={"name": "Waits"},
        taskQueue=QUEUE,
        originalExecutionRunId="run",
        firstExecutionRunId="run",
        attempt=1,
    ),
    event(2, "WORKFLOW_TASK_SCHEDULED", taskQueue=QUEUE, attempt=1),
    event(3, "WORKFLOW_TASK_STARTED", scheduledEventId="2"),
    event(4, "WORKFLOW_TASK_COMPLETED", scheduledEventId="2", startedEventId="3"),
    event(5, "TIMER_STARTED", timerId="1", startToFireTimeout="3600s", workflowTaskCompletedEventId="4"),
    event(6, "TIMER_FIRED", timerId="1", startedEventId="5"),
    event(7, "WORKFLOW_TASK_SCHEDULED", taskQueue=QUEUE, attempt=1),
    event(8, "WORKFLOW_TASK_STARTED", scheduledEventId="7"),
]


async def main() -> None:
    provider = create_tracer_provider()
    trace.set_tracer_provider(provider)
    configure(tracer_provider=provider)
    replayer = Replayer(workflows=[Waits], plugins=[OpenTelemetryPlugin()])
    await replayer.replay_workflow(WorkflowHistory.from_json("workflow", {"events": HISTORY}))
    provider.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
