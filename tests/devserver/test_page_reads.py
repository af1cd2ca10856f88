"""What the page reads: over HTTP, without a browser."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sgp_client import START, Sgp, ended, started

USAGE = {"usage": {"input_tokens": 30, "output_tokens": 12}}


def rows(reply: httpx.Response) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.text
    table = reply.json()
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def traces(sgp: Sgp, **params: Any) -> list[dict[str, Any]]:
    return rows(sgp.http.get("/_standin/traces", params=params))


def spans(sgp: Sgp, trace_id: str = "t", **params: Any) -> list[dict[str, Any]]:
    return rows(sgp.http.get(f"/_standin/traces/{trace_id}", params={"account": "acme", **params}))


def test_a_running_trace_in_summary(sgp: Sgp) -> None:
    """Known from the START of its root: name, question, state, span types, sums over the spans, where it stands."""
    question = {"messages": [{"role": "user", "content": "Why?"}]}
    sgp.put_ok(
        started("root", type="AGENT_WORKFLOW", group_id="g", input=question),
        ended("model", type="COMPLETION", parent_id="root", output=USAGE, metadata={"cost_usd": 0.25}),
        ended("tool", parent_id="root", status="ERROR", name="tool"),
    )
    [summary] = traces(sgp)
    expected = {"account": "acme", "trace_id": "t", "root_id": "root", "name": "n", "asked": "Why?", "group_id": "g"}
    expected |= {"running": 1, "status": "SUCCESS", "spans": 3, "open": 1, "errors": 1, "late_starts": 0}
    expected |= {"input_tokens": 30, "output_tokens": 12, "cost_usd": 0.25}
    assert {name: summary[name] for name in expected} == expected
    assert set(summary["types"].split(",")) == {"AGENT_WORKFLOW", "COMPLETION", "STANDALONE"}


def test_a_trace_without_its_root_is_named_after_its_first_span(sgp: Sgp) -> None:
    """The root may be in another process, or on its way."""
    later = "2026-11-20T10:00:00.5Z"
    sgp.put_ok(ended("b", name="second", start_timestamp=later), ended("a", name="first"))
    assert [summary["name"] for summary in traces(sgp)] == ["first"]


def test_only_what_changed_is_read_again(sgp: Sgp) -> None:
    """By version: traces written to since, and of a trace its spans written since."""
    sgp.put_ok(started("a", trace_id="one"), started("b", trace_id="two"), started("c", trace_id="two"))
    latest = sgp.http.get("/_standin/traces").json()["latest"]
    assert traces(sgp, after=latest) == []
    sgp.put_ok(ended("b", trace_id="two"))
    assert [summary["trace_id"] for summary in traces(sgp, after=latest)] == ["two"]
    assert [(span["id"], span["end_us"] is None) for span in spans(sgp, "two", after=latest)] == [("b", False)]


def test_many_changed_traces_come_in_turns(sgp: Sgp) -> None:
    """At most 1000 at a time, none left out; of all there are, the newest."""
    sgp.put_ok(started("first", trace_id="first"))
    after = sgp.http.get("/_standin/traces").json()["latest"]
    for first in range(0, 1500, 500):
        sgp.put_ok(*(ended(str(number), trace_id=f"t{number}") for number in range(first, first + 500)))
    assert {summary["trace_id"] for summary in traces(sgp)} == {f"t{number}" for number in range(500, 1500)}
    seen: set[str] = set()
    while len(found := traces(sgp, after=after)) > 0:
        seen |= {summary["trace_id"] for summary in found}
        after = sgp.http.get("/_standin/traces", params={"after": after}).json()["latest"]
    assert seen == {f"t{number}" for number in range(1500)}


def test_waiting_ends_with_the_next_write(sgp: Sgp) -> None:
    """A page hears of a write as soon as it is done, and of nothing when its wait is over."""
    latest = sgp.http.get("/_standin/traces").json()["latest"]
    writing = threading.Timer(0.3, sgp.put_ok, [started()])
    writing.start()
    began = time.monotonic()
    assert [summary["trace_id"] for summary in traces(sgp, after=latest, wait=20)] == ["t"]
    assert 0.2 < time.monotonic() - began < 5
    writing.join()
    assert traces(sgp, after=sgp.http.get("/_standin/traces").json()["latest"], wait=1) == []


def test_both_arrivals_of_a_span(sgp: Sgp) -> None:
    """When START and END came, how often, and whether a START came late."""
    before_us = time.time_ns() // 1000
    sgp.put_ok(started())
    sgp.put_ok(ended(output={"content": "Because."}))
    sgp.put_ok(started())
    [span] = spans(sgp)
    assert before_us <= span["start_arrived_us"] < span["end_arrived_us"] <= time.time_ns() // 1000
    assert span["late_starts"] == 1
    full = sgp.http.get(f"/_standin/spans/{span['key']}").json()
    assert (full["starts"], full["ends"], full["late_starts"]) == (2, 1, 1)
    assert full["document"] == sgp.get("s")


def test_a_word_about_each_span(sgp: Sgp) -> None:
    """What it said, which tool it called, what it returned, or why it failed; nothing of a large document."""
    call = {"content": "", "tool_calls": [{"name": "look_up"}]}
    sgp.put_ok(
        ended("said", output={"content": "Yes."}),
        ended("called", output=call),
        ended("returned", output={"sky": "rain"}),
        ended("failed", status="ERROR", metadata={"error_message": "refused"}, output={"content": "x"}),
        ended("large", output={"content": "x" * 100_000}),
    )
    hints = {span["id"]: span["hint"] for span in spans(sgp)}
    assert hints == {
        "said": "Yes.",
        "called": "→ look_up",
        "returned": '{"sky":"rain"}',
        "failed": "refused",
        "large": None,
    }


def test_a_long_trace_comes_in_pages(sgp: Sgp) -> None:
    """At most 5000 spans at a time, the rest after the last version."""
    for first in range(0, 5500, 500):
        sgp.put_ok(*(ended(str(number)) for number in range(first, first + 500)))
    reply = sgp.http.get("/_standin/traces/t", params={"account": "acme"})
    assert (len(rows(reply)), reply.json()["more"]) == (5000, True)
    rest = sgp.http.get("/_standin/traces/t", params={"account": "acme", "after": rows(reply)[-1]["version"]})
    assert (len(rows(rest)), rest.json()["more"]) == (500, False)


def test_huge_numbers_do_no_harm(sgp: Sgp) -> None:
    """Sums of token counts stay numbers."""
    usage = {"usage": {"input_tokens": (1 << 62) + 1, "output_tokens": 0}}
    sgp.put_ok(*(ended(str(number), output=usage) for number in range(4)))
    assert traces(sgp)[0]["input_tokens"] == pytest.approx(4.0 * (1 << 62))


@pytest.mark.parametrize("query", ["after=x", "after=-1", "wait=100", "wait=x"])
def test_bad_questions(sgp: Sgp, query: str) -> None:
    """422, as everywhere."""
    assert sgp.http.get(f"/_standin/traces?{query}").status_code == 422


def test_unknown_traces_and_spans(sgp: Sgp) -> None:
    """A trace may yet come: it is empty. A span is asked for by a key that was given out: 404."""
    assert spans(sgp, "none") == []
    assert sgp.http.get("/_standin/spans/999").status_code == 404


def test_ids_may_hold_anything(sgp: Sgp) -> None:
    """Slashes, quotes and percent signs in a trace id."""
    trace_id = "a/b %2F'\"?#"
    sgp.put_ok(ended(trace_id=trace_id))
    assert traces(sgp)[0]["trace_id"] == trace_id
    assert [span["id"] for span in spans(sgp, quote(trace_id, safe=""))] == ["s"]


def test_with_an_api_key_everything_is_locked(serve: Callable[..., Sgp]) -> None:
    """The page itself holds no data and is served; what it reads, and the control path, want the key."""
    sgp = serve(api_key="key")
    sgp.put_ok(started())
    for path in ("traces", "traces/t?account=acme", "spans/1", "stats", "faults"):
        assert sgp.http.get(f"/_standin/{path}").status_code == 200
        for headers in ({}, {"x-api-key": "wrong"}):
            assert httpx.get(f"{sgp.server.url}/_standin/{path}", headers=headers).status_code == 401
    assert httpx.get(sgp.server.url).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
    ],
)
def test_other_sites_are_refused(sgp: Sgp, headers: dict[str, str]) -> None:
    """A page of another site may neither read nor script faults, though it runs in the same browser."""
    assert sgp.http.get("/_standin/traces", headers={"origin": sgp.server.url}).status_code == 200
    assert sgp.http.get("/_standin/traces", headers=headers).status_code == 403
    assert sgp.http.post("/_standin/faults", json={"status": 500}, headers=headers).status_code == 403
    assert sgp.http.get("/", headers={"host": "evil.example"}).status_code == 400


def test_the_page_allows_nothing_but_itself(sgp: Sgp) -> None:
    """One script and one style, by hash; no address of another host anywhere in it."""
    page = sgp.http.get("/")
    policy = page.headers["content-security-policy"]
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"https?://[^\s'\"`]+", page.text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page.text)
    assert not re.search(r"\sstyle=|\son\w+=\"", page.text)


def test_a_server_that_starts_over_says_so(serve: Callable[..., Sgp]) -> None:
    """Versions begin again without a database of one's own: the page tells by the boot."""
    boots = {serve().http.get("/_standin/traces").json()["boot"] for _ in range(2)}
    assert len(boots) == 2


def test_stopping_does_not_wait_for_open_pages(serve: Callable[..., Sgp]) -> None:
    """A page that waits is answered at once."""
    sgp = serve()
    replies: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: replies.append(sgp.http.get("/_standin/traces?after=0&wait=20")))
    waiting.start()
    time.sleep(0.3)
    began = time.monotonic()
    sgp.server.stop()
    waiting.join()
    assert time.monotonic() - began < 5
    assert [reply.status_code for reply in replies] == [200]
    sgp.server.start()  # the fixture stops it again


def test_what_was_forgotten_is_told(serve: Callable[..., Sgp]) -> None:
    """The page drops traces whose last write is older than the oldest that is left."""
    sgp = serve(max_spans=100)
    for number in range(300):
        sgp.put_ok(ended(trace_id=f"t{number}", start_timestamp=START))
    table = sgp.http.get("/_standin/traces").json()
    assert table["oldest"] > 150
    assert min(row["version"] for row in traces(sgp)) == table["oldest"]


def matches(sgp: Sgp, text: str, **params: Any) -> list[tuple[str, str]]:
    """The trace and the id of every span that says the text, read portion by portion."""
    found: list[dict[str, Any]] = []
    while params.get("before", 0) is not None:
        reply = sgp.http.get("/_standin/matches", params={"text": text, **params})
        found += rows(reply)
        params["before"] = reply.json()["next"]
    keys = {span["key"]: span["id"] for trace in traces(sgp) for span in spans(sgp, quote(trace["trace_id"], safe=""))}
    return sorted((row["trace_id"], keys[row["key"]]) for row in found)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("LISBON", ["a"]),
        ("isbo", ["a"]),
        ("größe", ["b"]),
        ('say "hi"', ["b"]),
        ("line one\nline", ["b"]),
        ("deep_key", ["c"]),
        ("morning", ["c"]),
        ("42.5", ["c"]),
        ("100%_\\", ["d"]),
        ("account_id", []),
        ("status", []),
        ("nowhere", []),
    ],
)
def test_a_text_in_what_spans_carry(sgp: Sgp, text: str, ids: list[str]) -> None:
    """Names, groups, inputs, outputs and metadata, at any depth, keys too; not the fields that every span has."""
    sgp.put_ok(
        ended("a", input={"messages": [{"role": "user", "content": "Is Lisbon warm?"}]}),
        ended("b", output={"content": 'die GRÖSSE: say "hi"\nline one\nline two'}),
        ended("c", metadata={"x": [{"Deep_Key": 42.5}]}, group_id="Morning"),
        ended("d", name="100%_\\"),
    )
    assert [id for _, id in matches(sgp, text)] == ids


def test_a_text_is_looked_for_in_portions(sgp: Sgp) -> None:
    """The newest first, each span once; and only in what was written since, when that is asked for."""
    for first in range(0, 4500, 900):
        sgp.put_ok(*(ended(f"{number:04}", output={"n": f"number {number}"}) for number in range(first, first + 900)))
    assert len(matches(sgp, "number")) == 4500
    newest = sgp.http.get("/_standin/matches", params={"text": "number"}).json()
    assert (len(newest["rows"]), newest["next"] is not None) == (4000, True)
    assert matches(sgp, "number 44", after=newest["next"] - 1) == matches(sgp, "number 44")[-100:]
    latest = sgp.http.get("/_standin/traces").json()["latest"]
    assert matches(sgp, "number", after=latest) == []


CALL = {"usage": {"input_tokens": 10, "output_tokens": 1, "cost_usd": 0.5}}


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ({}, (20, 2, 1.0)),
        ({"usage": {"input_tokens": 21, "output_tokens": 3}, "cost_usd": 1.25}, (21, 3, 1.25)),
        ({"usage": {"input_tokens": 21}}, (21, 2, 1.0)),
        ({"usage": {"prompt_tokens": 5, "cost_usd": 0.75}}, (5, 2, 0.75)),
        ({"cost_usd": True}, (20, 2, 1.0)),
    ],
)
def test_tokens_and_cost_of_a_trace(sgp: Sgp, turn: dict[str, Any], expected: tuple[int, int, float]) -> None:
    """The sum of the calls, or what the turn says of all of them: never both."""
    sgp.put_ok(ended("turn", metadata=turn), *(ended(id, parent_id="turn", output=CALL) for id in "ab"))
    [summary] = traces(sgp)
    assert (summary["input_tokens"], summary["output_tokens"], summary["cost_usd"]) == expected
