"""Checklist items 33 to 36: GET by id, token counts, obs ids, PATCH."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from sgp_client import Sgp, ended, started


@pytest.mark.parametrize("id", ["a/b", "100%", "é", "a b", "a b/c%é", "batch", "search", "..", "a?b#c"])
def test_get_by_any_id(sgp: Sgp, id: str) -> None:
    """Item 33: percent-encoded, whatever is in it."""
    sgp.put_ok(started(id))
    path = quote(id, safe="").replace(".", "%2E")
    assert sgp.http.get(f"/v5/spans/{path}").json()["id"] == id


@pytest.mark.parametrize("status", [403, 404])
def test_get_what_is_not_there(serve: Callable[..., Sgp], profile: str, status: int) -> None:
    """Item 33: 404 for an unknown id, the status set for one in a trace that the caller may not read."""
    sgp = serve(profile=profile, unreadable_trace_status=status)
    sgp.put_ok(started())
    assert sgp.http.get("/v5/spans/unknown").status_code == 404
    with sgp.as_account("other") as other:
        assert other.get("/v5/spans/s").status_code == status


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"output": {"usage": {"input_tokens": 3, "output_tokens": 4}}}, (3, 4)),
        ({"output": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}, (3, 4)),
        ({"metadata": {"usage": {"input_tokens": 3}}}, (3, None)),
        ({"metadata": {"usage": {"input_tokens": 1}}, "output": {"usage": {"input_tokens": 3}}}, (3, None)),
        ({"output": {"usage": {"input_tokens": "3", "output_tokens": -1}}}, (None, None)),
        ({"output": {"usage": [3]}}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_token_counts(sgp: Sgp, profile: str, fields: dict[str, Any], tokens: tuple[int | None, int | None]) -> None:
    """Item 34: from usage in any spelling under tracing, absent when there is none, and always on legacy."""
    span = sgp.put_ok(ended(**fields))[0]
    names = ("input_tokens", "output_tokens")
    wanted = {name: count for name, count in zip(names, tokens, strict=True) if count is not None}
    assert {name: span[name] for name in names if name in span} == (wanted if profile == "tracing-pg" else {})


def test_token_counts_off(serve: Callable[..., Sgp]) -> None:
    """Item 34: no usage key feeds them."""
    sgp = serve(usage_keys="none")
    assert "input_tokens" not in sgp.put_ok(ended(output={"usage": {"input_tokens": 3}}))[0]


def test_obs_ids(sgp: Sgp, profile: str) -> None:
    """Item 35: echoed under tracing, null on legacy."""
    ids = {"obs_trace_id": "a" * 32, "obs_span_id": "b" * 16}
    sgp.put_ok(ended(**ids))
    span = sgp.get("s")
    assert {name: span[name] for name in ids} == (ids if profile == "tracing-pg" else dict.fromkeys(ids))


def test_patch_on_legacy(serve: Callable[..., Sgp]) -> None:
    """Item 36: changes the given fields and nothing else; an unknown id is 404, a bad value 422."""
    sgp = serve(profile="legacy")
    before = sgp.put_ok(started(input={"q": 1}, metadata={"a": 1}))[0]
    changes = {"end_timestamp": "2026-11-20T10:00:02Z", "output": {"r": 1}, "trace_id": "ignored"}
    reply = sgp.http.patch("/v5/spans/s", json=changes)
    assert reply.status_code == 200
    after = {**before, "end_timestamp": "2026-11-20T10:00:02Z", "output": {"r": 1}}
    assert reply.json() == sgp.get("s") == after
    assert sgp.http.patch("/v5/spans/unknown", json=changes).status_code == 404
    for bad in ({"status": "OK"}, {"end_timestamp": "2026-11-20T09:00:00Z"}, {"name": None}, []):
        assert sgp.http.patch("/v5/spans/s", json=bad).status_code == 422
    assert sgp.get("s") == after


@pytest.mark.parametrize("profile", ["tracing-pg", "tracing-ch", "dual-legacy", "dual-tracing"])
def test_patch_elsewhere(serve: Callable[..., Sgp], profile: str) -> None:
    """Item 36: 501."""
    sgp = serve(profile=profile)
    sgp.put_ok(started())
    assert sgp.http.patch("/v5/spans/s", json={"name": "m"}).status_code == 501
