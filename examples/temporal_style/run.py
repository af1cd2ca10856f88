"""Spans that start in one worker and end in another, while both are killed and started again.

    python examples/temporal_style/run.py

Starts a local SGP and the two workers of worker.py, kills each once with SIGKILL, and reads from the server's rows
what became of the spans: one row each, complete, and with the right parent.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from durable_queue import DurableQueue

from otel_sgp_exporter.devserver import DevServer

CLAIMS = 5
WORKER = Path(__file__).with_name("worker.py")
Span = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description="Hand spans over between workers that die.")
    parser.add_argument("--think-seconds", type=float, default=0.4, help="how long a decision takes")
    think_seconds = parser.parse_args().think_seconds
    with TemporaryDirectory() as directory, DevServer() as server:
        database = Path(directory) / "queue.sqlite"
        queue = DurableQueue(database)
        for number in range(CLAIMS):
            queue.put("intake", {"claim": number})

        def worker(role: str) -> Any:
            return _worker(role, database, server.url, think_seconds)

        with worker("intake") as first:
            _kill_when(first, "handed over 2")
        with worker("intake") as second:
            _read_until(second, f"handed over {CLAIMS - 1}")
            print(f"{_running(server.spans())} spans are running, and nobody works on them", flush=True)
            with worker("approval") as third:
                _kill_when(third, "deciding 1")
            with worker("approval"):
                while queue.left():
                    time.sleep(0.05)
        spans = server.spans()
    for span in sorted(spans, key=lambda span: span["start_timestamp"]):
        print(f"{span['status']:8} {_seconds(span):5.1f} s  {span['name']}  [{_journey(span)}]")
    faults = find_faults(spans)
    for fault in faults:
        print(f"WRONG: {fault}")
    return 1 if faults else 0


@contextmanager
def _worker(role: str, database: Path, url: str, think_seconds: float) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ,
        "OTEL_EXPORTER_SGP_ENDPOINT": url,
        "OTEL_EXPORTER_SGP_API_KEY": "local",
        "OTEL_EXPORTER_SGP_ACCOUNT_ID": "local",
        "OTEL_SERVICE_NAME": f"expenses-{role}",
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, str(WORKER), role, str(database), "--think-seconds", str(think_seconds)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, encoding="utf-8") as process:
        try:
            yield process
        finally:
            process.kill()


def _read_until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for said in process.stdout:
        print(said, end="", flush=True)
        if said.strip() == line:
            return
    raise RuntimeError(f"the worker ended before it said {line!r}")


def _kill_when(process: subprocess.Popen[str], line: str) -> None:
    _read_until(process, line)
    process.kill()
    print("killed", flush=True)


def _running(spans: list[Span]) -> int:
    return sum(span["end_timestamp"] is None for span in spans)


def _seconds(span: Span) -> float:
    if span["end_timestamp"] is None:
        return 0.0
    return (_time(span["end_timestamp"]) - _time(span["start_timestamp"])).total_seconds()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _journey(span: Span) -> str:
    metadata = span["metadata"]
    began = metadata.get("started_in", {}).get("service.name")
    return f"{began} -> {metadata['service_name']}" if began else str(metadata["service_name"])


def find_faults(spans: list[Span]) -> list[str]:
    """What is wrong with the spans, a sentence each."""
    faults = []
    for number in range(CLAIMS):
        claims = [span for span in spans if span["name"] == f"expense claim {number}"]
        if len(claims) != 1:
            faults.append(f"claim {number} has {len(claims)} rows")
            continue
        below = [span for span in spans if span["parent_id"] == claims[0]["id"]]
        names = sorted({span["name"] for span in below})  # a worker that is killed may have paid and not said so
        if names != ["check policy", "human approval", "pay out"]:
            faults.append(f"claim {number} has {names} below it")
        handed_over = [*claims, *(span for span in below if span["name"] == "human approval")]
        faults += [f"{span['name']} of {number} is not complete" for span in handed_over if not span["end_timestamp"]]
        faults += [
            f"{span['name']} of {number} went {_journey(span)}"
            for span in handed_over
            if _journey(span) != "expenses-intake -> expenses-approval"
        ]
        if len(handed_over) != 2 or _seconds(claims[0]) < _seconds(handed_over[1]):
            faults.append(f"claim {number} is not as long as its approval")
    return faults


if __name__ == "__main__":
    sys.exit(main())
