"""The examples, run as a user runs them, against the local SGP."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the server extra")

from otel_sgp_exporter.devserver import DevServer

if find_spec("langgraph") is None:
    pytest.skip("needs the examples extra", allow_module_level=True)

EXAMPLES = Path(__file__).parents[1] / "examples"

CHAT = ("chat stand-in-1", "COMPLETION", [])
TOOL = ("execute_tool get_weather", "CODE_EXECUTION", [("GET", "EXTERNAL_ENDPOINT", [])])
AGENT = ("invoke_agent weather-agent", "AGENT_WORKFLOW")

Span = Arrival = dict[str, Any]


def run(script: str, think_seconds: float, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run an example with these variables and none of the machine's that would decide something."""
    environment = {
        variable: value
        for variable, value in os.environ.items()
        if not variable.startswith(("OTEL_", "SGP_", "OPENAI_")) and not variable.lower().endswith("_proxy")
    }
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), "--think-seconds", str(think_seconds)],
        env={**environment, "PYTHONIOENCODING": "utf-8", **settings},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


@pytest.fixture(scope="module")
def sgp() -> Iterator[DevServer]:
    """A local SGP to which the example agent has reported."""
    with DevServer() as server:
        result = run(
            "langgraph_agent.py",
            think_seconds=0.1,
            OTEL_EXPORTER_SGP_ENDPOINT=server.url,
            OTEL_EXPORTER_SGP_API_KEY="key",
            OTEL_EXPORTER_SGP_ACCOUNT_ID="account",
        )
        assert (result.returncode, result.stderr) == (0, "")
        yield server


@pytest.fixture(scope="module")
def arrivals(sgp: DevServer) -> list[Arrival]:
    """What the server knows of each span, the oldest first: its row, and how its STARTs and ENDs arrived."""
    spans = sorted(sgp.spans(), key=lambda span: span["start_timestamp"])
    return [sgp.stats(span["id"])["spans"][0] for span in spans]


@pytest.fixture(scope="module")
def spans(arrivals: list[Arrival]) -> list[Span]:
    return [arrival["document"] for arrival in arrivals]


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return import_module("demo")


def tree(span: Span, spans: list[Span]) -> tuple[str, str, list[Any]]:
    below = [tree(child, spans) for child in spans if child["parent_id"] == span["id"]]
    return span["name"], span["type"], below


def of_type(spans: list[Span], span_type: str) -> list[Span]:
    return [span for span in spans if span["type"] == span_type]


def test_every_question_is_a_trace_with_the_request_below_its_tool(spans: list[Span]) -> None:
    """Two of the questions need a tool, one of them twice at a time; the third is answered at once."""
    trees = [tree(span, spans) for span in spans if span["parent_id"] is None]
    assert [(*AGENT, [CHAT, TOOL, CHAT]), (*AGENT, [CHAT, TOOL, TOOL, CHAT]), (*AGENT, [CHAT])] == trees
    assert len({span["trace_id"] for span in spans}) == len(trees)


def test_every_span_arrives_twice_start_first(arrivals: list[Arrival]) -> None:
    """Even at interpreter exit, which nothing in the example waits for."""
    for arrival in arrivals:
        assert (arrival["starts"], arrival["ends"], arrival["late_starts"]) == (1, 1, 0)
        assert arrival["start_arrived_us"] <= arrival["end_arrived_us"]
        assert arrival["document"]["end_timestamp"]


def test_the_conversation_is_the_group(spans: list[Span]) -> None:
    """The thread id holds the traces of a conversation together."""
    (group,) = {span["group_id"] for span in of_type(spans, "AGENT_WORKFLOW") + of_type(spans, "COMPLETION")}
    assert group.startswith("weather-")


def test_prompts_answers_and_usage_are_in_the_rows(spans: list[Span]) -> None:
    """Content is captured on spans, where an exporter sees it."""
    agent = of_type(spans, "AGENT_WORKFLOW")[0]
    assert "What is the weather in Paris?" in json.dumps(agent["input"])
    assert "It is 12 °C in Paris" in json.dumps(agent["output"], ensure_ascii=False)
    tools = of_type(spans, "CODE_EXECUTION")
    assert {span["input"]["city"] for span in tools} == {"Paris", "Lisbon", "Oslo"}
    assert tools[0]["output"]["celsius"] == 12
    assert all(span["output"]["usage"]["output_tokens"] > 0 for span in of_type(spans, "COMPLETION"))
    assert all("/weather?city=" in json.dumps(span["input"]) for span in of_type(spans, "EXTERNAL_ENDPOINT"))


def test_the_demo_shows_running_spans_and_what_was_sent() -> None:
    """Off a terminal, one line when a span is seen running and one when it has ended."""
    result = run("demo.py", think_seconds=0.4)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    lines = result.stdout.splitlines()
    assert any("invoke_agent" in line and "● running" in line for line in lines)
    assert "\x1b" not in result.stdout
    assert lines[-1].startswith("14 spans in 3 traces: 28 upserts (14 STARTs, 14 ENDs) in ")
    assert lines[-1].endswith(" in flight, 0 dropped")


def test_a_terminal_is_drawn_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spans: list[Span]
) -> None:
    """Each drawing starts where the one before began, and no line is long enough to wrap."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("COLUMNS", "60")
    screen = import_module("live_tree").Screen()
    screen.show([{**spans[0], "end_timestamp": None}])
    assert "● running" in capsys.readouterr().out
    screen.close(spans)
    drawn = capsys.readouterr().out
    assert drawn.startswith("\x1b[1F\x1b[J")
    assert drawn.count("\n") == len(spans)
    assert max(len(re.sub(r"\x1b\[\d*[A-Za-z]", "", line)) for line in drawn.splitlines()) < 60


def test_the_demo_fails_when_spans_do_not_show_up_while_they_run() -> None:
    """Without STARTs every record is complete in the end, and yet nobody could watch."""
    result = run("demo.py", think_seconds=0.1, OTEL_EXPORTER_SGP_START_DELAY="off")
    assert result.returncode == 1
    assert "14 upserts (0 STARTs, 14 ENDs)" in result.stdout
    assert "14 dropped" in result.stdout
    assert result.stdout.count("has no START") == 14


def test_the_demo_accepts_what_the_agent_sends(demo: ModuleType, arrivals: list[Arrival]) -> None:
    """No fault is found where there is none."""
    assert demo.find_faults(arrivals, questions=3) == []


@pytest.mark.parametrize("lost", range(14))
def test_the_demo_misses_any_lost_span(demo: ModuleType, arrivals: list[Arrival], lost: int) -> None:
    """A span of which neither START nor END arrived leaves a gap that is noticed."""
    assert demo.find_faults(arrivals[:lost] + arrivals[lost + 1 :], questions=3)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"starts": 0}, "has no START"),
        ({"ends": 0}, "has no END"),
        ({"late_starts": 1}, "had a START that landed after its END"),
        ({"document": {"parent_id": None}}, "is not below the tool that made the request"),
    ],
)
def test_the_demo_names_a_broken_span(
    demo: ModuleType, arrivals: list[Arrival], change: dict[str, Any], fault: str
) -> None:
    """Each thing the demo promises makes it fail when it is not so."""
    broken = next(arrival for arrival in arrivals if arrival["document"]["name"] == "GET")
    document = broken["document"] | change.get("document", {})
    others = [arrival for arrival in arrivals if arrival is not broken]
    faults = demo.find_faults([*others, broken | change | {"document": document}], questions=3)
    assert f"GET ({broken['id']}) {fault}" in faults
