"""Checklist item 56: agentex's processor, and without agentex the requests that it makes.

The real one needs Python 3.12: `python3.12 -m venv .matrix/agentex` and
`.matrix/agentex/bin/pip install agentex-sdk==0.22.2`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from scale_gp_beta import AsyncSGPClient, UnprocessableEntityError
from sgp_client import Sgp

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("agentex_program.py")
AGENTEX = Path(os.environ.get("AGENTEX_PYTHON", ROOT / ".matrix" / "agentex" / "bin" / "python"))


def run_agentex(sgp: Sgp, starts: bool, *arguments: str) -> None:
    if not AGENTEX.exists():
        pytest.skip(f"no agentex at {AGENTEX}: see the docstring of {Path(__file__).name}")
    environment = {"AGENT_NAME": "ann", "ACP_URL": "http://127.0.0.1", "ACP_TYPE": "async"}
    environment |= {"AGENTEX_TRACING_SKIP_SPAN_START": "0" if starts else "1", "PATH": os.environ["PATH"]}
    command = [AGENTEX, PROGRAM, sgp.server.url, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run_like_agentex(sgp: Sgp, starts: bool, *arguments: str) -> None:
    """The same calls of the official client: a batch of STARTs if there are any, then one of ENDs."""

    def item(name: str, ended: bool, **fields: Any) -> dict[str, Any]:
        times = {"start_timestamp": "2026-11-20T10:00:00.123456+00:00"}
        times |= {"end_timestamp": "2026-11-20T10:00:01.123456+00:00"} if ended else {}
        data = {"__source__": "agentex", "__acp_type__": "async", "__agent_name__": "ann"}
        span = {"name": name, "id": name, "trace_id": "task", **times, "input": {}, "output": {}, "metadata": data}
        return {**span, "status": "SUCCESS", "type": "STANDALONE", **fields}

    def items(ended: bool) -> list[Any]:
        spans = [
            item("turn:1", ended, type="AGENT_WORKFLOW", input={"q": "hé"}),
            item("llm:gpt", ended, parent_id="turn:1", output={"usage": {"input_tokens": 3}} if ended else {}),
            item("tool:x", ended, parent_id="turn:1"),
        ]
        return spans + ([item("list", ended, input=[{"role": "user"}])] if "list" in arguments else [])

    async def run() -> None:
        async with AsyncSGPClient(api_key="key", account_id="acme", base_url=sgp.server.url) as client:
            for ended in (False, True) if starts else (True,):
                try:
                    await client.spans.upsert_batch(items=items(ended))
                except UnprocessableEntityError:
                    assert "list" in arguments  # agentex logs it and goes on

    asyncio.run(run())


@pytest.fixture(params=[run_agentex, run_like_agentex], ids=["agentex", "its requests"])
def run(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("starts", [False, True], ids=["ENDs only", "with STARTs"])
def test_a_turn(sgp: Sgp, run: Any, starts: bool) -> None:
    """One request of ENDs, or one of STARTs before it; the tree, the types and the agent are found by searches."""
    run(sgp, starts)
    stats = sgp.server.stats()
    assert stats["statuses"] == {200: 1 + starts}
    assert stats["batch_sizes"] == {3: 1 + starts}
    assert (stats["writes_per_id"], stats["starts_after_end"]) == ({1 + starts: 3}, 0)
    spans = {span["name"]: span for span in sgp.server.spans()}
    assert {span["trace_id"] for span in spans.values()} == {"task"}
    assert spans["llm:gpt"]["parent_id"] == spans["tool:x"]["parent_id"] == spans["turn:1"]["id"]
    assert (spans["turn:1"]["type"], spans["turn:1"]["input"]) == ("AGENT_WORKFLOW", {"q": "hé"})
    assert spans["llm:gpt"]["output"]["usage"]["input_tokens"] == 3
    assert all(span["end_timestamp"] for span in spans.values())
    assert len(sgp.found(agentex_agent_names=["ann"], acp_types=["async"])) == 3


@pytest.mark.parametrize("starts", [False, True], ids=["ENDs only", "with STARTs"])
def test_a_list_as_input(sgp: Sgp, run: Any, starts: bool) -> None:
    """422 for the batch that has it, sent once and not again: every span of it is lost."""
    run(sgp, starts, "list")
    assert sgp.server.stats()["statuses"] == {422: 1 + starts}
    assert sgp.server.spans() == []


def test_the_error_of_a_tool(sgp: Sgp) -> None:
    """agentex marks what raised, and every span around it."""
    run_agentex(sgp, False)
    spans = {span["name"]: span for span in sgp.server.spans()}
    assert [spans[name]["status"] for name in ("turn:1", "llm:gpt", "tool:x")] == ["ERROR", "SUCCESS", "ERROR"]
    assert spans["tool:x"]["metadata"]["error_type"] == "RuntimeError"
