"""Checklist items 37 to 46: filters, order, pages, windows, bounds, text."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from scale_gp_beta import SGPClient
from sgp_client import Sgp, ended, started

TRACE = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
SPANS = [
    started("root", trace_id="t1", name="turn", type="TRACER", group_id="g", metadata={"k": 1, "f": "x", "l": [1, 2]}),
    ended(
        "llm",
        trace_id="t1",
        parent_id="root",
        name="llm:gpt",
        type="COMPLETION",
        input={"q": "What is the Weather in Paris?"},
        metadata={"k": 2, "f": "x", "__acp_type__": "async", "__agent_name__": "ann", "__agent_id__": "7"},
        application_variant_id="v",
    ),
    ended("tool", trace_id="t1", parent_id="root", name="tool:search", status="ERROR", output={"r": "sunny, 21 °C"}),
    ended("other", trace_id=TRACE, name="other", status="CANCELED", end_timestamp="2026-11-20T10:00:00.010Z"),
]
BEYOND_64_BITS = "cursor." + base64.urlsafe_b64encode(json.dumps([2**70, "t", "s"]).encode()).decode()
ALL = {"root", "llm", "tool", "other"}


def at(second: int) -> str:
    return f"2026-11-20T10:00:0{second}Z"


@pytest.fixture
def full(sgp: Sgp) -> Sgp:
    sgp.put_ok(*SPANS)
    return sgp


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, ALL),
        ({"trace_ids": ["t1", "t9"]}, ALL - {"other"}),
        ({"trace_ids": ["t9"]}, set()),
        ({"trace_ids": []}, ALL),
        ({"span_ids": ["llm", "tool"]}, {"llm", "tool"}),
        ({"spans": [{"trace_id": "t1", "span_id": "llm"}, {"trace_id": "t9", "span_id": "tool"}]}, {"llm"}),
        ({"spans": [{"trace_id": "t1", "span_id": "llm"}], "span_ids": ["tool"]}, set()),
        ({"parent_ids": ["root"]}, {"llm", "tool"}),
        ({"excluded_trace_ids": ["t1"]}, {"other"}),
        ({"excluded_span_ids": ["llm", "tool"]}, {"root", "other"}),
        ({"excluded_spans": [{"trace_id": "t1", "span_id": "llm"}]}, ALL - {"llm"}),
        ({"excluded_spans": [{"trace_id": "t1", "span_id": "llm"}], "excluded_span_ids": ["tool"]}, ALL - {"llm"}),
        ({"names": ["turn", "other"]}, {"root", "other"}),
        ({"statuses": ["ERROR", "CANCELED"]}, {"tool", "other"}),
        ({"types": ["TRACER"]}, {"root"}),
        ({"group_id": "g"}, {"root"}),
        ({"parents_only": True}, {"root", "other"}),
        ({"parents_only": False}, ALL),
        ({"application_variant_ids": ["v"]}, {"llm"}),
        ({"assessment_types": ["thumbs"]}, set()),
        ({"acp_types": ["async", "sync"]}, {"llm"}),
        ({"agentex_agent_names": ["ann"]}, {"llm"}),
        ({"agentex_agent_ids": ["8"]}, set()),
        ({"extra_metadata": {"f": "x"}}, {"root", "llm"}),
        ({"extra_metadata": {"f": "x", "k": 2}}, {"llm"}),
        ({"extra_metadata": {"k": [1, 2, 3]}}, {"root", "llm"}),
        ({"extra_metadata": {"l": [1, 2]}}, {"root"}),
        ({"extra_metadata": {"absent": None}}, set()),
        ({"extra_metadata": {"__acp_type__": "sync"}, "acp_types": ["async"]}, set()),
        ({"min_duration_ms": 1500}, {"llm", "tool"}),
        ({"max_duration_ms": 10}, {"other"}),
        ({"max_duration_ms": 9}, set()),
        ({"min_duration_ms": 10, "max_duration_ms": 1500}, ALL - {"root"}),
        ({"min_duration_ms": 0}, ALL - {"root"}),
        ({"trace_ids": ["t1"], "parents_only": True, "types": ["TRACER"]}, {"root"}),
        ({"unknown_filter": 1, "group_id": None}, ALL),
    ],
)
def test_filters(full: Sgp, body: dict[str, Any], found: set[str]) -> None:
    """Items 37 and 38: each filter alone, and filters ANDed; durations inclusive, never of a span in flight."""
    assert set(full.found(**body)) == found


def test_obs_filters(serve: Callable[..., Sgp]) -> None:
    """Items 37 and 43: obs ids find spans under tracing; legacy refuses the filter."""
    tracing, legacy = serve(), serve(profile="legacy")
    spans = [started("a", obs_trace_id="a" * 32, obs_span_id="1" * 16), started("b", obs_trace_id="b" * 32)]
    tracing.put_ok(*spans)
    assert tracing.found(obs_trace_ids=["b" * 32]) == ["b"]
    assert tracing.found(obs_trace_ids=["a" * 32], obs_span_ids=["1" * 16]) == ["a"]
    assert tracing.search(obs_span_ids=["A" * 16]).status_code == 422
    assert legacy.search(obs_trace_ids=["b" * 32]).status_code == 422


def test_composed_metadata_filters(serve: Callable[..., Sgp]) -> None:
    """Item 37: $or and $and compose on ClickHouse and are keys like any other on Postgres."""
    composed = {"$or": [{"k": 1}, {"$and": [{"k": 2}, {"f": "x"}]}]}
    for profile, found in (("tracing-ch", {"root", "llm"}), ("tracing-pg", {"dollar"})):
        sgp = serve(profile=profile)
        sgp.put_ok(*SPANS, started("dollar", metadata=composed))
        assert set(sgp.found(extra_metadata=composed)) == found


@pytest.mark.parametrize(
    "body",
    [
        {"trace_ids": "t1"},
        {"span_ids": [1]},
        {"spans": [{"trace_id": "t1"}]},
        {"statuses": ["OK"]},
        {"types": ["LLM"]},
        {"extra_metadata": []},
        {"min_duration_ms": "long"},
        {"parents_only": "perhaps"},
    ],
)
def test_ill_typed_filters(sgp: Sgp, body: dict[str, Any]) -> None:
    """Item 37: 422 that locates the filter."""
    reply = sgp.search(**body)
    assert (reply.status_code, reply.json()["detail"][0]["loc"]) == (422, ["body", *body])


def test_order(sgp: Sgp) -> None:
    """Item 39: by start, ascending unless asked; ties by trace id, then id, bytewise."""
    names = [("t2", "a"), ("t1", "é"), ("t1", "z"), ("t1", "Z")]
    sgp.put_ok(*(started(id, trace_id=trace) for trace, id in names))
    sgp.put_ok(started("first", start_timestamp="2026-11-20T09:00:00Z"))
    assert sgp.found() == ["first", "Z", "z", "é", "a"]
    assert sgp.found({"sort_order": "desc"}) == ["a", "é", "z", "Z", "first"]
    assert sgp.search({"sort_order": "up"}).status_code == 422


@pytest.mark.parametrize("status", [422, 400])
def test_sorts(serve: Callable[..., Sgp], status: int) -> None:
    """Item 39: by duration everywhere; by tokens under tracing, none counting as zero; legacy refuses those."""
    tracing, legacy = serve(), serve(profile="legacy", legacy_token_sort_status=status)
    for sgp in (tracing, legacy):
        sgp.put_ok(
            ended("long", end_timestamp="2026-11-20T10:00:09Z", output={"usage": {"input_tokens": 1}}),
            ended("short", end_timestamp="2026-11-20T10:00:01Z", output={"usage": {"input_tokens": 5}}),
            started("open"),
        )
        assert sgp.found({"sort_by": "duration_ms", "sort_order": "desc"})[:2] == ["long", "short"]
    assert tracing.found({"sort_by": "input_tokens"}) == ["open", "long", "short"]
    assert tracing.search({"sort_by": "colour"}).status_code == 422
    assert legacy.search({"sort_by": "input_tokens"}).status_code == status
    assert legacy.search({"sort_by": "colour"}).status_code == 200


def page_through(sgp: Sgp, params: dict[str, Any], after: str = "starting_after") -> tuple[list[str], int]:
    """The ids of all pages in the order they came, as the official client turns them, and the number of requests."""
    ids: list[str] = []
    for requests in range(1, 100):
        page = sgp.search(params).json()
        new = [item["id"] for item in page["items"]]
        ids = ids + new if after == "starting_after" else new + ids
        if not page["has_more"] or not new:
            return ids, requests
        params = {**params, after: new[-1] if after == "starting_after" else new[0]}
    raise AssertionError("the pages have no end")


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
@pytest.mark.parametrize("order", [{}, {"sort_order": "desc"}, {"sort_by": "duration_ms"}])
def test_pages(sgp: Sgp, limit: int, order: dict[str, str]) -> None:
    """Item 40: no gap and no repeat in any order, and no request too many, also on exact multiples."""
    sgp.put_ok(*(ended(f"s{n}", trace_id=f"t{n % 3}") for n in range(7)))
    ids, requests = page_through(sgp, {"limit": limit, **order})
    assert ids == sgp.found(order)
    assert requests == -(-7 // limit)


def test_pages_backwards(sgp: Sgp) -> None:
    """Item 40: before a span, pages lie the other way and keep the order."""
    sgp.put_ok(*(started(f"s{n}") for n in range(7)))
    assert page_through(sgp, {"limit": 2, "ending_before": "s6"}, "ending_before") == ([f"s{n}" for n in range(6)], 3)


def test_pages_while_spans_arrive(sgp: Sgp) -> None:
    """Item 40: what comes in before the page moves nothing behind it."""
    sgp.put_ok(*(started(f"s{n}") for n in range(4)))
    assert sgp.found({"limit": 2}) == ["s0", "s1"]
    sgp.put_ok(started("a"), ended("s1"))
    assert sgp.found({"limit": 2, "starting_after": "s1"}) == ["s2", "s3"]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_of_a_window_with_rewritten_spans(sgp: Sgp, order: str) -> None:
    """Items 14 and 40: a span that has a newer row outside of the window holds its place within."""
    sgp.put_ok(*(started(f"s{n}") for n in range(4)))
    sgp.put_ok(*(started(f"s{n}", start_timestamp="2026-11-21T10:00:00Z") for n in range(4)))
    window = {"from_ts": "2026-11-20T00:00:00Z", "to_ts": "2026-11-20T23:00:00Z", "sort_order": order}
    assert page_through(sgp, {**window, "limit": 1})[0] == sgp.found(window)


def test_pages_of_an_id_in_two_traces(serve: Callable[..., Sgp]) -> None:
    """Item 41: a bare id is looked for in the traces that are searched."""
    sgp = serve()
    sgp.put_ok(*(started(id, trace_id=trace) for trace in ("t1", "t2") for id in "abc"))
    assert sgp.found({"starting_after": "a"}, trace_ids=["t1"]) == ["b", "c"]
    assert page_through(sgp, {"limit": 2})[0][:2] == ["a", "b"]


def test_cursors(sgp: Sgp, profile: str) -> None:
    """Item 41: a page starts after a bare id, or after the cursor that tracing gave."""
    sgp.put_ok(*(started(f"s{n}") for n in range(4)))
    assert sgp.found({"starting_after": "s1"}) == ["s2", "s3"]
    page = sgp.search({"limit": 2}).json()
    if profile == "tracing-pg":
        second = sgp.search({"limit": 2, "starting_after": page["next_cursor"]}).json()
        assert [item["id"] for item in second["items"]] == ["s2", "s3"]
        assert sgp.found({"limit": 2, "ending_before": second["prev_cursor"]}) == ["s0", "s1"]
        assert (page["prev_cursor"], second["next_cursor"]) == (None, None)
    else:
        assert "next_cursor" not in page


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("cursor", ["unknown", "cursor.", "cursor.x", "cursor.e30=", BEYOND_64_BITS])
def test_unknown_cursors(serve: Callable[..., Sgp], status: int, cursor: str) -> None:
    """Item 41: a cursor that nobody gave."""
    assert serve(bad_cursor_status=status).search({"starting_after": cursor}).status_code == status


def test_page_members(sgp: Sgp) -> None:
    """Item 42: total is not computed, limit is echoed and bounded."""
    page = sgp.search({"limit": 7}).json()
    assert (page["object"], page["items"], page["has_more"], page["total"], page["limit"]) == ("list", [], False, 0, 7)
    assert sgp.search().json()["limit"] == 100
    for limit in ("0", "10001", "-1", "many"):
        reply = sgp.search({"limit": limit})
        assert (reply.status_code, reply.json()["detail"][0]["loc"]) == (422, ["query", "limit"])
    assert sgp.search({"limit": 10000}).status_code == 200


def test_bounds_of_a_search(sgp: Sgp) -> None:
    """Item 43: a reversed window, and more than 10000 ids, a pair counting twice."""
    assert sgp.search({"from_ts": "2026-11-20T10:00:01Z", "to_ts": "2026-11-20T10:00:00Z"}).status_code == 422
    pairs = [{"trace_id": "t", "span_id": "s"}] * 4000
    assert sgp.search(spans=pairs, span_ids=["s"] * 2000).status_code == 200
    assert sgp.search(spans=pairs, span_ids=["s"] * 2001).status_code == 422


def test_windows(sgp: Sgp, profile: str) -> None:
    """Item 44: inclusive; tracing reaches back 90 days from the end and says so."""
    now = datetime.now(timezone.utc)
    sgp.put_ok(*(started(f"{days}", start_timestamp=(now - timedelta(days=days)).isoformat()) for days in (1, 80, 100)))
    window = {"from_ts": (now - timedelta(days=120)).isoformat(), "to_ts": now.isoformat()}
    assert sgp.found(window) == {"legacy": ["100", "80", "1"], "tracing-pg": ["80", "1"]}[profile]
    page = sgp.search(window).json()
    if profile == "tracing-pg":
        assert page["window_truncated"] is True
        from_ts = datetime.fromisoformat(page["effective_from_ts"].replace("Z", "+00:00"))
        assert from_ts == now - timedelta(days=90)
        assert sgp.search({"from_ts": (now - timedelta(days=2)).isoformat()}).json()["window_truncated"] is False
    assert sgp.found({"to_ts": (now - timedelta(days=90)).isoformat()}) == ["100"]


def test_byte_budget(serve: Callable[..., Sgp]) -> None:
    """Item 45: a page beyond it is refused, or cut short and continued by its cursor where that is allowed."""
    tracing, legacy = serve(search_byte_budget=1500), serve(profile="legacy", search_byte_budget=1500)
    for sgp in (tracing, legacy):
        sgp.put_ok(*(started(f"s{n}") for n in range(5)), started("s5", input={"text": "x" * 3000}))
    refused = tracing.search()
    assert refused.status_code == 400
    assert "SEARCH_RESULT_TOO_LARGE" in refused.json()["detail"]
    assert len(legacy.found()) == 6
    params: dict[str, Any] = {"allow_partial_results": True}
    ids: list[str] = []
    while params.get("starting_after", "") is not None:
        page = tracing.search(params).json()
        ids += [item["id"] for item in page["items"]]
        assert page["has_more"] == (page["next_cursor"] is not None)
        params["starting_after"] = page["next_cursor"]
    assert ids == [f"s{n}" for n in range(6)]
    last = tracing.search({"allow_partial_results": True, "ending_before": "s5"}).json()
    assert (last["items"][-1]["id"], last["has_more"]) == ("s4", True)


@pytest.mark.parametrize(
    ("terms", "found", "on_legacy"),
    [
        (["weather"], {"llm"}, {"llm"}),
        (["weath"], set(), set()),
        (["the weather in"], {"llm"}, {"llm"}),
        (["in the weather"], set(), set()),
        (["gpt"], {"llm"}, set()),
        (["lm:g"], {"llm"}, set()),
        (["sunny, 2"], {"tool"}, {"tool"}),
        (["paris", "weather"], {"llm"}, {"llm"}),
        (["paris", "sunny"], set(), set()),
        (["ann"], {"llm"}, set()),
        ([TRACE], {"other"}, {"other"}),
        ([TRACE.upper()], set(), set()),
        ([TRACE, "sunny"], {"other", "tool"}, {"other", "tool"}),
    ],
)
def test_text(full: Sgp, profile: str, terms: list[str], found: set[str], on_legacy: set[str]) -> None:
    """Item 46: whole words, phrases, names in part, all terms; a UUID stands for its trace; legacy looks less far."""
    assert set(full.found(search_texts=terms)) == (found if profile == "tracing-pg" else on_legacy)


def test_text_bounds(serve: Callable[..., Sgp]) -> None:
    """Item 46: at most 10 terms of 2 characters or more, of which legacy knows nothing."""
    for profile, status in (("tracing-pg", 422), ("legacy", 200)):
        sgp = serve(profile=profile)
        assert sgp.search(search_texts=["a"]).status_code == status
        assert sgp.search(search_texts=["aa"] * 11).status_code == status


@pytest.mark.parametrize(("setting", "found"), [("loose", ["s"]), ("rfc", [])])
def test_uuid_terms(serve: Callable[..., Sgp], setting: str, found: list[str]) -> None:
    """Item 46: whether a trace id of 32 random digits is one."""
    random = "4bf92f35-77b3-0da6-03ce-929d0e0e4736"
    sgp = serve(uuid_terms=setting)
    sgp.put_ok(started(trace_id=random))
    assert sgp.found(search_texts=[random]) == found


@pytest.mark.parametrize(("order", "kept"), [("asc", ["s1", "s4"]), ("desc", ["s4", "s1"])])
def test_a_search_that_stops_early(serve: Callable[..., Sgp], order: str, kept: list[str]) -> None:
    """Item 45: what it found, how far it got, and a cursor from there; to the end, nothing left out or repeated."""
    sgp = serve(search_row_budget=2)
    sgp.put_ok(*(started(f"s{n}", name="odd" if n % 3 else "kept", start_timestamp=at(n)) for n in (0, 2, 3, 5, 6)))
    sgp.put_ok(*(started(f"s{n}", name="hit", start_timestamp=at(n)) for n in (1, 4)))
    params: dict[str, Any] = {"allow_partial_results": True, "sort_order": order}
    ids: list[str] = []
    reached: list[str | None] = []
    while params.get("starting_after", "") is not None:
        page = sgp.search(params, names=["hit"]).json()
        ids += [item["id"] for item in page["items"]]
        reached.append(page["searched_through"])
        assert page["search_status"] == ("partial" if page["has_more"] else None)
        params["starting_after"] = page["next_cursor"]
    assert ids == kept
    assert reached == [*(at(n) for n in ((1, 3, 5) if order == "asc" else (5, 3, 1))), None]


def test_a_search_that_stops_early_backwards(serve: Callable[..., Sgp]) -> None:
    """Item 45: going back, it is the other cursor that leads on."""
    sgp = serve(search_row_budget=2)
    sgp.put_ok(*(started(f"s{n}", name="hit" if n == 0 else "other", start_timestamp=at(n)) for n in range(6)))
    params = {"allow_partial_results": True, "ending_before": "s5"}
    first = sgp.search(params, names=["hit"]).json()
    assert (first["items"], first["search_status"], first["searched_through"]) == ([], "partial", at(3))
    second = sgp.search({**params, "ending_before": first["prev_cursor"]}, names=["hit"]).json()
    third = sgp.search({**params, "ending_before": second["prev_cursor"]}, names=["hit"]).json()
    assert [item["id"] for item in third["items"]] == ["s0"]
    assert (third["has_more"], third["search_status"]) == (False, None)


def test_a_search_stops_early_only_where_that_is_allowed(serve: Callable[..., Sgp]) -> None:
    """Item 45: nor on legacy, nor when the page is full."""
    tracing, legacy = serve(search_row_budget=2), serve(profile="legacy", search_row_budget=2)
    for sgp in (tracing, legacy):
        sgp.put_ok(*(started(f"s{n}") for n in range(6)))
    assert len(tracing.found()) == len(legacy.found({"allow_partial_results": True})) == 6
    page = tracing.search({"allow_partial_results": True, "limit": 2}).json()
    assert (len(page["items"]), page["has_more"], page["search_status"]) == (2, True, None)
    assert "search_status" not in legacy.search().json()


@pytest.mark.parametrize("terms", [["common"], ["span"], ["rare", "common"], ['"in common"'], ["ommon"]])
def test_a_text_that_is_too_broad(serve: Callable[..., Sgp], terms: list[str]) -> None:
    """Item 46: on Postgres a term of any class that alone matches more rows than allowed, within the other filters."""
    postgres, clickhouse, legacy = (
        serve(profile=profile, broad_term_rows=3) for profile in ("tracing-pg", "tracing-ch", "legacy")
    )
    spans = [
        started(f"s{n}", name="span: ommon", output={"text": "have in common"}, group_id=f"g{n % 2}") for n in range(5)
    ]
    for sgp in (postgres, clickhouse, legacy):
        sgp.put_ok(*spans, started("rare", name="x", input={"text": "rare"}))
    refused = postgres.search(search_texts=terms)
    assert refused.status_code == 400
    assert refused.json()["detail"].startswith("QUERY_TOO_BROAD")
    assert postgres.search(search_texts=terms, group_id="g1").status_code == 200
    assert postgres.found(search_texts=["rare"]) == ["rare"]
    assert clickhouse.search(search_texts=terms).status_code == legacy.search(search_texts=terms).status_code == 200


@pytest.mark.parametrize(
    ("terms", "on_postgres", "on_clickhouse"),
    [
        (['"sunny, 21"'], {"tool"}, {"tool"}),
        (['"the weather"'], {"llm"}, {"llm"}),
        (['"he weather"'], set(), set()),
        (['"turn"'], set(), set()),
        ([f'"{TRACE}"'], set(), set()),
        ([r'"say \"hi\""'], {"path"}, {"path"}),
        (['"unterminated'], set(), set()),
        (["example"], set(), {"path"}),
        (["www.example.com"], {"path"}, {"path"}),
        (["4o"], {"path"}, {"path"}),
        (["end"], {"path"}, {"path"}),
    ],
)
def test_phrases_and_compounds(
    serve: Callable[..., Sgp], terms: list[str], on_postgres: set[str], on_clickhouse: set[str]
) -> None:
    """Item 46: quotes make a phrase of the content; hosts and paths are one word on Postgres, several on ClickHouse."""
    text = 'say "hi" to gpt-4o at https://www.example.com/path, the end.'
    for profile, found in (("tracing-pg", on_postgres), ("tracing-ch", on_clickhouse)):
        sgp = serve(profile=profile)
        sgp.put_ok(*SPANS, started("path", input={"text": text}))
        assert set(sgp.found(search_texts=terms)) == found


def test_short_phrases(serve: Callable[..., Sgp]) -> None:
    """Item 46: the two characters are counted between the quotes, which legacy strips."""
    assert serve().search(search_texts=['"a"']).status_code == 422
    legacy = serve(profile="legacy")
    legacy.put_ok(started(input={"text": "hello"}))
    assert legacy.found(search_texts=['"hello"']) == ["s"]


@pytest.mark.parametrize(("setting", "found"), [("off", ["a", "b", "c"]), ("on", ["a", "b"])])
def test_projects(serve: Callable[..., Sgp], profile: str, setting: str, found: list[str]) -> None:
    """`x-project-id` narrows a search to traces whose root is of that project, where that is switched on."""
    sgp = serve(profile=profile, project_scoping=setting)
    sgp.put_ok(started("a", metadata={"project_id": "p"}), started("b", parent_id="a"), started("c", trace_id="t2"))
    with SGPClient(api_key="key", account_id="acme", base_url=sgp.server.url) as client:
        assert [span.id for span in client.spans.search(x_project_id="p")] == found
        assert [span.id for span in client.spans.search()] == ["a", "b", "c"]


def test_a_large_trace_in_one_page(serve: Callable[..., Sgp]) -> None:
    """Item 42: ten thousand spans, found one by one; looking through the trace for each would outlast the client."""
    sgp = serve()
    for first in range(0, 10_000, 1000):
        sgp.put_ok(*(started(f"{n:04}") for n in range(first, first + 1000)))
    assert sgp.found({"limit": 10_000}) == [f"{n:04}" for n in range(10_000)]
