"""`make demo`: starts a local SGP, runs the example agent against it and shows its traces growing.

All that is shown is read back from the server, from its rows and counters; the exporter is asked for nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from live_tree import Log, Screen, is_running, started_at

from otel_sgp_exporter.devserver import DevServer

SCRIPT = Path(__file__).with_name("langgraph_agent.py")
AGENT, MODEL, TOOL, REQUEST = "AGENT_WORKFLOW", "COMPLETION", "CODE_EXECUTION", "EXTERNAL_ENDPOINT"

Arrival = dict[str, Any]
"""The server's account of one span: its row, and how many STARTs and ENDs were written to it."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Watch a traced agent in a local SGP.")
    parser.add_argument("--think-seconds", type=float, default=1.5, help="how long the stand-in model takes to answer")
    think_seconds = parser.parse_args().think_seconds

    sys.stdout.reconfigure(errors="replace")  # not every log is UTF-8
    view = Screen() if sys.stdout.isatty() else Log()
    # The latency is what others have reported of SGP.
    with DevServer(latency_p50_millis=150, latency_p95_millis=330) as server:
        print(f"{SCRIPT.name} runs and reports to {server.url}\n", flush=True)
        with start_agent(server.url, think_seconds) as agent:
            while agent.poll() is None:
                view.show(server.spans())
                time.sleep(0.1)
            transcript, _ = agent.communicate()
        view.close(server.spans())
        arrivals = [server.stats(span["id"])["spans"][0] for span in server.spans()]
        print(f"\n{summary(arrivals, server.stats())}")

    faults = find_faults(arrivals, questions=transcript.count("> "))
    if agent.returncode:
        faults.append(f"the agent ended with exit code {agent.returncode}")
    for fault in faults:
        print(f"WRONG: {fault}")
    return 1 if faults else 0


def start_agent(url: str, think_seconds: float) -> subprocess.Popen[str]:
    """Does what a user does: three environment variables and the script."""
    environment = {
        **os.environ,
        "OTEL_EXPORTER_SGP_ENDPOINT": url,
        "OTEL_EXPORTER_SGP_API_KEY": "local",
        "OTEL_EXPORTER_SGP_ACCOUNT_ID": "local",
        "OPENAI_API_KEY": "",  # a demo costs nothing
        "PYTHONIOENCODING": "utf-8",
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, str(SCRIPT), "--think-seconds", str(think_seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, encoding="utf-8")


def summary(arrivals: list[Arrival], stats: dict[str, Any]) -> str:
    traces = {arrival["trace_id"] for arrival in arrivals}
    puts = sum(times for request, times in stats["requests_by_path"].items() if request.startswith("PUT "))
    starts = sum(arrival["starts"] > 0 for arrival in arrivals)
    ends = sum(arrival["ends"] > 0 for arrival in arrivals)
    return (
        f"{len(arrivals)} spans in {len(traces)} traces: {stats['items']} upserts ({starts} STARTs, {ends} ENDs) "
        f"in {puts} PUTs, at most {stats['most_puts_in_flight']} in flight, {2 * len(arrivals) - starts - ends} dropped"
    )


def find_faults(arrivals: list[Arrival], questions: int) -> list[str]:
    """What is wrong with what arrived, a sentence each.

    A span of which nothing at all arrived has no row to be counted by. It is missed as a parent, as the request of a
    tool, as the model's first or last word in a trace, or as the trace of a question.
    """
    faults = []
    types = {arrival["id"]: arrival["document"]["type"] for arrival in arrivals}
    below = defaultdict(list)
    for arrival in sorted(arrivals, key=lambda arrival: started_at(arrival["document"])):
        below[arrival["document"]["parent_id"]].append(arrival["document"]["type"])
    for arrival in arrivals:
        span, children = arrival["document"], below[arrival["id"]]
        parent_type = types.get(span["parent_id"])
        wrong = {
            "has no START": not arrival["starts"],
            "has no END": not arrival["ends"] or is_running(span),
            "had a START that landed after its END": arrival["late_starts"],
            "has a parent that never arrived": span["parent_id"] and not parent_type,
            "is not below the tool that made the request": span["type"] == REQUEST and parent_type != TOOL,
            f"made one request, but has {children} below it": span["type"] == TOOL and children != [REQUEST],
            f"should begin and end with the model, but has {children} below it": span["type"] == AGENT
            and {*children[:1], *children[-1:]} != {MODEL},
        }
        faults += [f"{span['name']} ({span['id']}) {fault}" for fault, is_wrong in wrong.items() if is_wrong]
    if len(below[None]) != questions:
        faults.append(f"{questions} questions were asked and {len(below[None])} traces arrived")
    return faults


if __name__ == "__main__":
    sys.exit(main())
