"""Checklist items 6 to 17: what an upsert leaves behind, and what it answers."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sgp_client import Sgp, ended, started

NEXT_DAY = "2026-11-21T10:00:00Z"


def in_stores(database: Path) -> tuple[list[Any], list[Any]]:
    """Trace id and obs trace id of what the legacy and the tracing store hold."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        legacy, traces = (
            connection.execute(f"SELECT trace_id, obs_trace_id FROM {table} ORDER BY version").fetchall()
            for table in ("legacy", "traces")
        )
    return legacy, traces


def test_answer_holds_the_spans(sgp: Sgp) -> None:
    """Item 6: 200 and a list whose items have every required field."""
    reply = sgp.put(ended("a"), started("b")).json()
    assert reply["object"] == "list"
    assert [item["id"] for item in reply["items"]] == ["a", "b"]
    for item in reply["items"]:
        assert item["object"] == "span"
        assert item["account_id"] == "acme"
        assert item["created_by"]["type"] == "service_account"
        assert (item["name"], item["trace_id"], item["start_timestamp"]) == ("n", "t", "2026-11-20T10:00:00Z")


def test_batch_holds_a_thousand(sgp: Sgp) -> None:
    """Item 7: 1000 items are accepted, 1001 are refused and nothing of them is written."""
    assert sgp.put(*(started(f"a{n}") for n in range(1001))).status_code == 422
    assert sgp.server.spans() == []
    assert len(sgp.put_ok(*(started(f"b{n}") for n in range(1000)))) == 1000


@pytest.mark.parametrize("status", [200, 422])
def test_empty_batch(serve: Callable[..., Sgp], profile: str, status: int) -> None:
    """Item 7: an empty batch is fine, unless the setting says otherwise."""
    assert serve(profile=profile, empty_batch=status).put().status_code == status


def test_missing_id_is_made_up(sgp: Sgp) -> None:
    """Item 8: a UUID, returned and retrievable."""
    item = started()
    del item["id"]
    made = sgp.put_ok(item)[0]["id"]
    assert str(UUID(made)) == made
    assert sgp.get(made)["name"] == "n"


def test_defaults(sgp: Sgp) -> None:
    """Item 9: SUCCESS, STANDALONE, every other optional field null."""
    span = sgp.put_ok(started())[0]
    assert (span["status"], span["type"]) == ("SUCCESS", "STANDALONE")
    optional = ("parent_id", "group_id", "end_timestamp", "input", "output", "metadata", "expected", "obs_trace_id")
    assert [span[field] for field in optional] == [None] * len(optional)


def test_end_replaces_start(sgp: Sgp) -> None:
    """Item 10: a START is in progress; END replaces the row, and what END omits is gone."""
    assert sgp.put_ok(started(input={"q": 1}, metadata={"a": 1}, group_id="g"))[0]["end_timestamp"] is None
    sgp.put_ok(ended(output={"r": 2}, metadata={"b": 2}))
    span = sgp.get("s")
    assert span["end_timestamp"] == "2026-11-20T10:00:01.500000Z"
    assert (span["output"], span["metadata"]) == ({"r": 2}, {"b": 2})
    assert (span["input"], span["group_id"]) == (None, None)
    assert len(sgp.server.spans()) == 1


@pytest.mark.parametrize(
    ("settings", "in_progress"),
    [
        ({"profile": "legacy"}, True),
        ({"profile": "tracing-pg"}, True),
        ({"profile": "tracing-pg", "late_start": "completed_wins"}, False),
        ({"profile": "legacy", "late_start": "completed_wins"}, True),
    ],
)
def test_late_start(serve: Callable[..., Sgp], settings: dict[str, str], in_progress: bool) -> None:
    """Item 11: a START after the END of its span undoes it, in tracing unless the setting says otherwise."""
    sgp = serve(**settings)
    sgp.put_ok(ended(output={"r": 1}))
    sgp.put_ok(started())
    span = sgp.get("s")
    assert (span["end_timestamp"] is None) == in_progress
    assert (span["output"] is None) == in_progress


@pytest.mark.parametrize(
    ("first", "second", "kept_by"),
    [
        (started(name="1"), ended(name="2"), {"legacy": "2", "tracing-pg": "2"}),
        (ended(name="1"), started(name="2"), {"legacy": "2", "tracing-pg": "1"}),
        (ended(name="1"), ended(name="2"), {"legacy": "2", "tracing-pg": "2"}),
        (started(name="1"), started(name="2"), {"legacy": "2", "tracing-pg": "2"}),
    ],
)
def test_twice_in_one_batch(
    sgp: Sgp, profile: str, first: dict[str, Any], second: dict[str, Any], kept_by: dict[str, str]
) -> None:
    """Items 12 and 52: legacy keeps the last, tracing a completed one before it; the answer is collapsed."""
    reply = sgp.put_ok(first, second)
    assert [item["name"] for item in reply] == [kept_by[profile]]
    assert [span["name"] for span in sgp.server.spans()] == [kept_by[profile]]


def test_one_id_in_two_traces(sgp: Sgp, profile: str) -> None:
    """Item 13: legacy keeps the last one, tracing both."""
    sgp.put_ok(started(trace_id="t1"))
    sgp.put_ok(started(trace_id="t2"))
    assert [span["trace_id"] for span in sgp.server.spans()] == {"legacy": ["t2"], "tracing-pg": ["t1", "t2"]}[profile]


@pytest.mark.parametrize(("scope", "left"), [("global", []), ("account", ["s"])])
def test_one_id_in_two_accounts(serve: Callable[..., Sgp], scope: str, left: list[str]) -> None:
    """Item 13: a legacy id is global, so another account can take it, unless the setting says otherwise."""
    sgp = serve(profile="legacy", legacy_id_scope=scope)
    sgp.put_ok(started())
    with sgp.as_account("other") as other:
        assert other.put("/v5/spans/batch", json={"items": [started()]}).status_code == 200
        assert len(other.post("/v5/spans/search", json={}).json()["items"]) == 1
    assert sgp.found() == left


def test_start_on_another_day(sgp: Sgp, profile: str) -> None:
    """Item 14: one row in legacy; two in tracing, of which reads answer with the newest, searches in their window."""
    sgp.put_ok(started(name="old"))
    sgp.put_ok(started(name="new", start_timestamp=NEXT_DAY))
    assert sgp.get("s")["name"] == "new"
    assert [item["name"] for item in sgp.search().json()["items"]] == ["new"]
    rows = {"legacy": ["new"], "tracing-pg": ["old", "new"]}[profile]
    assert [span["name"] for span in sgp.server.spans()] == rows
    window = {"from_ts": "2026-11-20T00:00:00Z", "to_ts": "2026-11-20T23:00:00Z"}
    old = {"legacy": [], "tracing-pg": ["old"]}[profile]
    assert [item["name"] for item in sgp.search(window).json()["items"]] == old


def test_identical_again(sgp: Sgp) -> None:
    """Item 15: sending a span again changes nothing."""
    sgp.put_ok(ended(output={"r": 1}))
    before = sgp.server.spans()
    sgp.put_ok(ended(output={"r": 1}))
    assert sgp.server.spans() == before


@pytest.mark.parametrize("profile", ["legacy", "tracing-pg", "tracing-ch", "dual-legacy", "dual-tracing"])
@pytest.mark.parametrize("bad", [started("b", name=1), started("b", parent_id="b")])
def test_one_bad_item_refuses_all(serve: Callable[..., Sgp], tmp_path: Path, profile: str, bad: dict[str, Any]) -> None:
    """Item 16: no row of the request is in any store."""
    sgp = serve(profile=profile, database=tmp_path / "spans.sqlite")
    assert sgp.put(started("a"), bad, started("c")).status_code in (409, 422)
    assert in_stores(tmp_path / "spans.sqlite") == ([], [])


@pytest.mark.parametrize(("profile", "kept", "rows"), [("dual-legacy", "t2", 1), ("dual-tracing", "t1", 2)])
def test_dual_writes(serve: Callable[..., Sgp], tmp_path: Path, profile: str, kept: str, rows: int) -> None:
    """Each store of a dual profile goes by its own rule, and the primary answers."""
    sgp = serve(profile=profile, database=tmp_path / "spans.sqlite")
    reply = sgp.put_ok(ended(trace_id="t1", obs_trace_id="a" * 32), started(trace_id="t2"))
    assert reply[0]["trace_id"] == kept
    assert len(sgp.server.spans()) == rows
    assert reply[0]["obs_trace_id"] == (None if profile == "dual-legacy" else "a" * 32)
    assert in_stores(tmp_path / "spans.sqlite") == ([("t2", None)], [("t1", "a" * 32), ("t2", None)])


def test_create(sgp: Sgp) -> None:
    """Item 17: POST makes one span, or a batch of them."""
    one = sgp.http.post("/v5/spans", json=started("a"))
    assert (one.status_code, one.json()["id"], one.json()["object"]) == (200, "a", "span")
    batch = sgp.http.post("/v5/spans/batch", json={"items": [started("b"), ended("c")]})
    assert [item["id"] for item in batch.json()["items"]] == ["b", "c"]
    assert sgp.found() == ["a", "b", "c"]
    invalid = sgp.http.post("/v5/spans", json={"name": "n"})
    assert (invalid.status_code, invalid.json()["detail"][0]["loc"][0]) == (422, "body")


@pytest.mark.parametrize("status", [409, 400, 422])
def test_create_again(serve: Callable[..., Sgp], status: int) -> None:
    """Item 17: legacy refuses an id that exists, and the batch with it; tracing upserts."""
    legacy, tracing = serve(profile="legacy", duplicate_post_status=status), serve()
    for sgp, answer in ((legacy, status), (tracing, 200)):
        sgp.put_ok(started())
        assert sgp.http.post("/v5/spans", json=ended()).status_code == answer
        assert sgp.http.post("/v5/spans/batch", json={"items": [started("x"), ended()]}).status_code == answer
    assert [span["id"] for span in legacy.server.spans()] == ["s"]
    assert tracing.get("s")["end_timestamp"] is not None


def test_arrivals_are_remembered(sgp: Sgp) -> None:
    """The server knows when the first START and the first END of a span came."""
    sgp.put_ok(started())
    (row,) = sgp.server.stats("s")["spans"]
    assert row["start_arrived_us"] > 0
    assert row["end_arrived_us"] is None
    sgp.put_ok(ended())
    (after,) = sgp.server.stats("s")["spans"]
    assert after["start_arrived_us"] == row["start_arrived_us"] < after["end_arrived_us"]
    assert (after["starts"], after["ends"], after["late_starts"]) == (1, 1, 0)


def test_oldest_spans_are_forgotten(serve: Callable[..., Sgp]) -> None:
    """The history is bounded: what was written longest ago goes first."""
    sgp = serve(max_spans=10)
    for number in range(30):
        sgp.put_ok(started(f"{number:02}"))
    assert sgp.found() == [f"{number:02}" for number in range(20, 30)]
