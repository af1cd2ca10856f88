"""Hand-overs between real processes: whole rows whoever dies, and whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import rows  # tests/handoff
from faults import Fault, FaultProxy, applied_then_dropped, half_open, passes, reset_after_body, status
from otel_sgp_exporter.devserver import DevServer

SIDE = Path(__file__).with_name("side.py")
NOTHING_LEFT = {"lost": {}, "tables": [0, 0, 0]}
HINDRANCES = (applied_then_dropped, reset_after_body, half_open, status(503), status(429), status(500))


@contextmanager
def side(url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ,
        "OTEL_EXPORTER_SGP_ENDPOINT": url,
        "OTEL_EXPORTER_SGP_API_KEY": "k",
        "OTEL_EXPORTER_SGP_ACCOUNT_ID": "a",
        "OTEL_SERVICE_NAME": arguments[0],
    }
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-W", "error", str(SIDE), *arguments]
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def hand_over(url: str, count: int, first: str = "stay", second: str = "leave") -> tuple[dict[str, Any], str]:
    """Have one process start spans and another end them; what the second reports, and what both had to say."""
    with side(url, "start", first, str(count)) as one, side(url, "end", second) as two:
        assert one.stdout is not None
        tokens = [one.stdout.readline() for _ in range(count)]
        if first == "die":
            one.wait(10)
        reported, said = two.communicate("".join(tokens), timeout=90)
        left, also_said = one.communicate(timeout=90)
        if first != "die":
            assert json.loads(left) == NOTHING_LEFT
    return json.loads(reported), also_said + said


def check(sgp: DevServer, count: int) -> dict[str, dict[str, Any]]:
    """One row for each id, complete, and in the right place; and as long as its children say."""
    found = rows(sgp)
    for number in range(count):
        span, child = found[f"span {number}"], found[f"child of span {number}"]
        assert span["end_timestamp"]
        assert span["status"] == "SUCCESS"
        assert child["parent_id"] == span["id"]
        assert span["start_timestamp"] < child["start_timestamp"] <= child["end_timestamp"] <= span["end_timestamp"]
        assert span["metadata"]["attributes"] == {"number": number, "resumed": True}
        assert span["metadata"]["started_in"]["service.name"] == "start"
        assert span["metadata"]["service_name"] == "end"
    assert len({span["parent_id"] for name, span in found.items() if name.startswith("span")}) == 1
    return found


def test_a_span_goes_from_one_process_to_another(sgp: DevServer) -> None:
    """Nothing is lost, left over or said."""
    assert hand_over(sgp.url, 5) == (NOTHING_LEFT, "")
    found = check(sgp, 5)
    assert found["root"]["end_timestamp"]
    assert found["span 0"]["parent_id"] == found["root"]["id"]


def test_the_first_process_is_killed_before_any_end(sgp: DevServer) -> None:
    """What SGP has of its spans is what the second process sends; its own last words may be missing."""
    assert hand_over(sgp.url, 5, first="die") == (NOTHING_LEFT, "")
    check(sgp, 5)


def hindered(number: int) -> Fault:
    """Every third request, of either process."""
    chance = random.Random(number)
    return chance.choice(HINDRANCES) if chance.random() < 1 / 3 else passes


@pytest.mark.parametrize("sgp", ["legacy"], indirect=True)
def test_a_thousand_spans_in_any_order_under_faults(sgp: DevServer) -> None:
    """STARTs of the first process that are tried again stay behind the ENDs of the second."""
    with FaultProxy(sgp.url, hindered) as proxy:
        reported, _ = hand_over(proxy.url, 1000, second="stay")
    assert reported == NOTHING_LEFT
    check(sgp, 1000)
