"""Checklist items 18 to 31: what a write item may be; a refusal names the field and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sgp_client import Sgp, ended, started


def problems(sgp: Sgp, item: Any) -> list[tuple[str, str]]:
    """The (field, type) pairs of the 422 that the item gets as the second of its batch."""
    reply = sgp.put(started("fine"), item)
    assert reply.status_code == 422, reply.text
    for problem in reply.json()["detail"]:
        assert problem["loc"][:3] == ["body", "items", 1]
        assert problem["msg"]
    assert sgp.server.spans() == []
    return [(problem["loc"][-1], problem["type"]) for problem in reply.json()["detail"]]


@pytest.mark.parametrize("field", ["name", "trace_id", "start_timestamp"])
def test_required_fields(sgp: Sgp, field: str) -> None:
    """Item 18: a missing field is located."""
    item = started()
    del item[field]
    assert problems(sgp, item) == [(field, "missing")]


def test_every_problem_is_listed(sgp: Sgp) -> None:
    """Item 18: not just the first problem of the first item."""
    assert sorted(problems(sgp, {"name": None, "status": "OK"})) == [
        ("name", "string_type"),
        ("start_timestamp", "missing"),
        ("status", "enum"),
        ("trace_id", "missing"),
    ]


@pytest.mark.parametrize("body", [[], "text", None, {}, {"items": None}, {"items": {}}, {"items": [1]}])
def test_bodies_of_another_shape(sgp: Sgp, body: Any) -> None:
    """Item 18: what is not a list of items is unprocessable."""
    assert sgp.http.put("/v5/spans/batch", json=body).status_code == 422


@pytest.mark.parametrize(("field", "value"), [("status", "OK"), ("status", "success"), ("type", "LLM"), ("type", 1)])
def test_closed_choices(sgp: Sgp, field: str, value: Any) -> None:
    """Item 19: an unknown status or type."""
    assert problems(sgp, started(**{field: value})) == [(field, "enum")]


@pytest.mark.parametrize("value", [[], [{"role": "user"}], "text", 1, True])
@pytest.mark.parametrize("field", ["input", "output", "metadata", "expected"])
def test_payloads_are_objects(sgp: Sgp, field: str, value: Any) -> None:
    """Items 20 and 56: an array or a scalar is refused, as agentex's list inputs are."""
    assert problems(sgp, started(**{field: value})) == [(field, "dict_type")]


@pytest.mark.parametrize("end", ["2026-11-20T09:59:59.999999Z", "2026-11-20T14:59:59+05:30"])
def test_end_before_start(sgp: Sgp, end: str) -> None:
    """Item 21: instants are compared, not texts."""
    assert problems(sgp, started(end_timestamp=end)) == [("end_timestamp", "value_error")]


@pytest.mark.parametrize("end", ["2026-11-20T10:00:00Z", "2026-11-20T15:30:00+05:30"])
def test_end_at_start(sgp: Sgp, end: str) -> None:
    """Item 21: a span may take no time."""
    assert sgp.put_ok(started(end_timestamp=end))[0]["end_timestamp"] == "2026-11-20T10:00:00Z"


@pytest.mark.parametrize("field", ["id", "group_id", "parent_id", "trace_id"])
def test_id_lengths(sgp: Sgp, field: str) -> None:
    """Item 22: 256 characters are accepted, 257 are not."""
    assert problems(sgp, started(**{field: "x" * 257})) == [(field, "string_too_long")]
    assert sgp.put_ok(started(**{field: "x" * 256}))[0][field] == "x" * 256


def test_short_trace_ids(serve: Callable[..., Sgp]) -> None:
    """Item 22: the old limit of 38 characters, when set."""
    sgp = serve(trace_id_max=38)
    assert problems(sgp, started(trace_id="x" * 39)) == [("trace_id", "string_too_long")]
    assert sgp.put(started(trace_id="x" * 38)).status_code == 200


@pytest.mark.parametrize("field", ["id", "group_id", "parent_id", "trace_id"])
def test_id_bytes(sgp: Sgp, profile: str, field: str) -> None:
    """Item 23: 400 bytes in 200 characters are refused by tracing, which names the field, and accepted by legacy."""
    reply = sgp.put(started(**{field: "é" * 200}))
    assert reply.status_code == {"legacy": 200, "tracing-pg": 400}[profile]
    if profile == "tracing-pg":
        assert reply.json()["detail"].startswith(f"{field} ")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"obs_trace_id": "a" * 31}, ("obs_trace_id", "string_pattern_mismatch")),
        ({"obs_trace_id": "A" * 32}, ("obs_trace_id", "string_pattern_mismatch")),
        ({"obs_trace_id": "0" * 32}, ("obs_trace_id", "value_error")),
        ({"obs_trace_id": "a" * 32, "obs_span_id": "a" * 17}, ("obs_span_id", "string_pattern_mismatch")),
        ({"obs_trace_id": "a" * 32, "obs_span_id": "0" * 16}, ("obs_span_id", "value_error")),
        ({"obs_span_id": "a" * 16}, ("obs_span_id", "value_error")),
    ],
)
def test_obs_ids(sgp: Sgp, fields: dict[str, str], problem: tuple[str, str]) -> None:
    """Item 24: lowercase hex of the right length, not all zero, the span's never without the trace's."""
    assert problems(sgp, started(**fields)) == [problem]


@pytest.mark.parametrize("settings", [{"obs_id_check": "off"}, {"zero_obs_ids": "accept"}])
def test_obs_ids_unchecked(serve: Callable[..., Sgp], settings: dict[str, str]) -> None:
    """Item 24: what the settings let pass."""
    sgp = serve(**settings)
    assert sgp.put_ok(started(obs_trace_id="0" * 32))[0]["obs_trace_id"] == "0" * 32
    assert sgp.put(started(obs_span_id="A")).status_code == (200 if "obs_id_check" in settings else 422)


@pytest.mark.parametrize("field", ["trace_id", "id", "parent_id", "group_id"])
@pytest.mark.parametrize(("profile", "status"), [("legacy", 400), ("tracing-pg", 400), ("tracing-ch", 200)])
def test_nul_in_ids(serve: Callable[..., Sgp], profile: str, status: int, field: str) -> None:
    """Item 25: Postgres refuses the batch and names the field, ClickHouse keeps the byte."""
    sgp = serve(profile=profile)
    reply = sgp.put(started("fine"), started(**{field: "a\0b"}))
    assert reply.status_code == status
    if status == 400:
        assert reply.json()["detail"].startswith(f"{field} ")
        assert sgp.server.spans() == []
    else:
        assert [span[field] for span in sgp.server.spans()][1] == reply.json()["items"][1][field] == "a\0b"


@pytest.mark.parametrize(("profile", "kept"), [("legacy", "�"), ("tracing-pg", "�"), ("tracing-ch", "\0")])
def test_nul_elsewhere(serve: Callable[..., Sgp], profile: str, kept: str) -> None:
    """Item 26: Postgres keeps U+FFFD instead, also in keys."""
    sgp = serve(profile=profile)
    sgp.put_ok(started(name="a\0b", input={"k\0": ["v\0"]}, metadata={"k": {"n": "\0"}}))
    span = sgp.get("s")
    assert span["name"] == f"a{kept}b"
    assert span["input"] == {f"k{kept}": [f"v{kept}"]}
    assert span["metadata"] == {"k": {"n": kept}}


def test_parent_in_another_trace(sgp: Sgp, profile: str) -> None:
    """Item 27: refused in the batch; outside of it only where Postgres holds the accounts' spans."""
    assert sgp.put(started("p", trace_id="t1"), started("c", trace_id="t2", parent_id="p")).status_code == 409
    assert sgp.server.spans() == []
    sgp.put_ok(started("p", trace_id="t1"))
    outside = sgp.put(started("c", trace_id="t2", parent_id="p"))
    assert outside.status_code == {"legacy": 409, "tracing-pg": 200}[profile]


@pytest.mark.parametrize(
    ("profile", "status"), [("dual-legacy", 409), ("dual-tracing", 409), ("tracing-ch", 200), ("tracing-pg", 200)]
)
def test_parent_in_another_trace_by_profile(serve: Callable[..., Sgp], profile: str, status: int) -> None:
    """Item 27: looked up as long as the account's spans are written to the legacy store, whichever is primary."""
    sgp = serve(profile=profile)
    sgp.put_ok(started("p", trace_id="t1"))
    assert sgp.put(started("c", trace_id="t2", parent_id="p")).status_code == status


def test_parent_of_the_same_name_in_both_traces(sgp: Sgp) -> None:
    """Item 27: an id that both traces use is no foreign parent."""
    batch = [started("p", trace_id="t1"), started("p", trace_id="t2"), started("c", trace_id="t1", parent_id="p")]
    assert sgp.put(*batch).status_code == 200


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a", "d": "a"}])
def test_cycles(sgp: Sgp, parents: dict[str, str]) -> None:
    """Item 28: spans that are their own ancestors."""
    reply = sgp.put(*(started(span, parent_id=parent) for span, parent in parents.items()))
    assert reply.status_code == 409
    assert "ancestor" in reply.json()["detail"]


def test_parents_that_are_fine(sgp: Sgp) -> None:
    """Items 29 and 30: an unknown parent, and a child before its parent."""
    sgp.put_ok(started("c", parent_id="p"), started("p"), started("o", parent_id="unknown"))
    assert sgp.get("o")["parent_id"] == "unknown"


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
        ("2026-11-20T10:00:00+00:00", "2026-11-20T10:00:00Z"),
        ("2026-11-20T15:30:00+05:30", "2026-11-20T10:00:00Z"),
        ("2026-11-20 05:00:00-0500", "2026-11-20T10:00:00Z"),
        ("2026-11-20T10:00:00.1Z", "2026-11-20T10:00:00.100000Z"),
        ("2026-11-20T10:00:00.123456789Z", "2026-11-20T10:00:00.123456Z"),
        ("2026-11-20T10:00:00", "2026-11-20T10:00:00Z"),
        ("2026-11-20", "2026-11-20T00:00:00Z"),
        (1795168800, "2026-11-20T10:00:00Z"),
        (1795168800123, "2026-11-20T10:00:00.123000Z"),
        ("1795168800.5", "2026-11-20T10:00:00.500000Z"),
    ],
)
def test_timestamps(sgp: Sgp, given: Any, stored: str) -> None:
    """Item 31: every form that is read, and how it is written."""
    assert sgp.put_ok(started(start_timestamp=given))[0]["start_timestamp"] == stored
    assert sgp.get("s")["start_timestamp"] == stored


@pytest.mark.parametrize(
    "given",
    [
        *("", "now", "2026-11-20T24:00:00Z", "2026-11-20T10:00:60Z", "2026-13-01T00:00:00Z", "20261120T100000Z"),
        *("2026-11-20T10:00:00.1234567890Z", "2026-11-20T10:00:00 UTC", "0001-01-01T00:00:00+05:00"),
        *(True, [], {}, 10**18, 2**80),
    ],
)
def test_timestamp_junk(sgp: Sgp, given: Any) -> None:
    """Item 31: anything else is refused."""
    assert [field for field, _ in problems(sgp, started(start_timestamp=given))] == ["start_timestamp"]


@pytest.mark.parametrize(
    ("setting", "given"),
    [
        ("naive_timestamps", "2026-11-20T10:00:00"),
        ("epoch_timestamps", 1795168800),
        ("epoch_timestamps", "1795168800"),
        ("date_only", "2026-11-20"),
    ],
)
def test_timestamps_refused_by_setting(serve: Callable[..., Sgp], setting: str, given: Any) -> None:
    """Item 31: forms that the service may not read."""
    assert serve(**{setting: "reject"}).put(ended(start_timestamp=given)).status_code == 422
