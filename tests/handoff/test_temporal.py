"""Temporal: the example as a user runs it, the code of the page in real activities, a workflow that is replayed."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from conftest import Process, rows  # tests/handoff
from otel_sgp_exporter.devserver import DevServer

MakeProcess = Callable[..., Process]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "temporal.md").read_text()
CODE = "\n\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
EXAMPLE = ROOT / "examples" / "temporal_style" / "run.py"


def test_the_example_ends_well() -> None:
    """Both workers are killed once; it judges itself by the server's rows."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SGP_"))}
    result = subprocess.run(
        [sys.executable, EXAMPLE, "--think-seconds", "0.1"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert result.stdout.count("killed") == 2
    assert result.stdout.count("expenses-intake -> expenses-approval") == 10


@pytest.fixture
def page() -> dict[str, Any]:
    """What the page's code defines."""
    pytest.importorskip("temporalio", reason="needs the dev extra")
    defined: dict[str, Any] = {"__name__": "page"}
    exec(compile(CODE, "docs/temporal.md", "exec"), defined)
    return defined


@pytest.fixture
def workers(process: MakeProcess, page: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs an activity of the page in a worker of its own, a tracer provider and all."""
    from temporalio.testing import ActivityEnvironment

    def run(name: str, *arguments: Any, **info: Any) -> Any:
        worker = process(name)
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: worker.provider)
        page["tracer"] = worker.tracer
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(environment.info, **info)
        environment.on_heartbeat = heartbeats.append
        try:
            return asyncio.run(environment.run(page[name], *arguments))
        finally:
            worker.flush()

    heartbeats: list[Any] = []
    page["heartbeats"] = heartbeats
    return run


def test_the_page_is_typed_as_a_user_would_have_it(tmp_path: Path) -> None:
    """mypy --strict, with the real temporalio."""
    pytest.importorskip("temporalio", reason="needs the dev extra")
    pytest.importorskip("mypy", reason="needs the dev extra")
    module = tmp_path / "page.py"
    module.write_text(CODE)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path), str(module)]
    result = subprocess.run(
        command, env={**os.environ, "MYPYPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=110
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("sgp", ["legacy"], indirect=True)
def test_one_activity_asks_and_another_finishes(
    sgp: DevServer, page: dict[str, Any], workers: Callable[..., Any]
) -> None:
    """Two workers, one span."""
    token = workers("ask_for_approval", "claim 7")
    assert rows(sgp)["human approval"]["end_timestamp"] is None
    assert workers("finish", token, True) == "approved"
    found = rows(sgp)
    assert found["human approval"]["output"] == {"output": "approved"}
    assert found["human approval"]["input"] == {"input": "claim 7"}
    assert found["pay out"]["parent_id"] == found["human approval"]["id"]


@pytest.mark.parametrize("sgp", ["legacy"], indirect=True)
def test_an_activity_that_cannot_ask_ends_its_span(
    sgp: DevServer, page: dict[str, Any], workers: Callable[..., Any]
) -> None:
    """The next attempt begins one of its own."""

    async def send_mail(claim: str) -> None:
        raise OSError("no mail")

    page["send_mail"] = send_mail
    with pytest.raises(OSError, match="no mail"):
        workers("ask_for_approval", "claim 7")
    assert rows(sgp)["human approval"]["status"] == "ERROR"


@pytest.mark.parametrize("sgp", ["legacy"], indirect=True)
def test_all_attempts_of_an_activity_are_one_span(
    sgp: DevServer, page: dict[str, Any], workers: Callable[..., Any]
) -> None:
    """The token is in the details of the heartbeat."""
    workers("research", "why?")
    workers("research", "why?", heartbeat_details=[page["heartbeats"][0]], attempt=2)
    assert rows(sgp)["research"]["metadata"]["attributes"] == {"attempt": 2}


@pytest.mark.parametrize("sgp", ["legacy"], indirect=True)
def test_an_activity_that_is_completed_by_somebody_else(
    sgp: DevServer, page: dict[str, Any], workers: Callable[..., Any]
) -> None:
    """It leaves by an exception, and the span stays open."""
    from temporalio import activity

    saved: list[Any] = []
    page["save"] = lambda *each: saved.append(each)
    with pytest.raises(BaseException) as left:  # noqa: PT011  # it has no public name
        workers("wait_for_a_human", "claim 7")
    assert type(left.value).__module__ == activity.__name__
    assert rows(sgp)["human approval"]["end_timestamp"] is None
    workers("finish", saved[0][2], False)
    assert rows(sgp)["human approval"]["end_timestamp"]


@pytest.mark.parametrize("sgp", ["legacy"], indirect=True)
def test_spans_join_the_task_s_trace(sgp: DevServer, process: MakeProcess, page: dict[str, Any]) -> None:
    """The ids are those of the native span that baggage names."""
    worker = process()
    page["tracer"] = worker.tracer
    page["work_on"]("task-42", "task-span", "conversation 7")
    worker.flush()
    row = rows(sgp)["answer"]
    assert (row["trace_id"], row["parent_id"], row["group_id"]) == ("task-42", "task-span", "conversation 7")


@pytest.mark.parametrize("sgp", ["legacy"], indirect=True)
def test_a_workflow_that_is_replayed_starts_no_span_again(sgp: DevServer) -> None:
    """SGP has their STARTs, and the ENDs of some: those would be shown as running for ever."""
    pytest.importorskip("temporalio.contrib.opentelemetry", reason="needs the dev extra")
    environment = {
        **os.environ,
        "OTEL_EXPORTER_SGP_ENDPOINT": sgp.url,
        "OTEL_EXPORTER_SGP_API_KEY": "k",
        "OTEL_EXPORTER_SGP_ACCOUNT_ID": "a",
    }
    subprocess.run([sys.executable, Path(__file__).with_name("replay.py")], env=environment, check=True, timeout=60)
    (row,) = sgp.spans()
    assert (row["name"], row["status"]) == ("around", "SUCCESS")
    (arrival,) = sgp.stats(row["id"])["spans"]
    assert (arrival["starts"], arrival["ends"]) == (0, 1)
