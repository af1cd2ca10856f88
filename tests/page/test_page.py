"""The page as a person meets it: in a real browser, against the real server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from browsing import open_trace, row, soon, span
from sgp_client import Sgp

AGENT = Path(__file__).parents[2] / "examples" / "langgraph_agent.py"
HOSTILE = """<img src=x onerror="alert('name')"><script>alert('name')</script>"""


def test_a_trace_appears_grows_and_ends(page: Any, sgp: Sgp) -> None:
    """Without reloading: the list shows it from the START of its root, the tree its spans as they start and end."""
    page.goto(sgp.server.url)
    page.get_by_text("No traces yet").wait_for()
    sgp.put_ok(span("root", since=-1))
    page.locator(".trace-row .sign.running").wait_for()
    before = page.locator(".trace-row .lasted").inner_text()
    soon(page, lambda: page.locator(".trace-row .lasted").inner_text() != before)

    page.locator(".trace-row").click()
    row(page, "span root").wait_for()
    sgp.put_ok(span("child", "root", since=-0.5))
    row(page, "span child").locator(".bar.running").wait_for()
    width = row(page, "span child").locator(".bar").bounding_box()["width"]
    page.wait_for_timeout(500)
    assert row(page, "span child").locator(".bar").bounding_box()["width"] > width

    child = span("child", "root", since=-0.5, until=0)
    sgp.put_ok(child)
    soon(page, lambda: page.locator(".bar.running").count() == 1)
    sgp.put_ok(span("root", since=-1, until=0))
    page.locator("#head .sign.success").wait_for()
    soon(page, lambda: page.locator(".bar.running").count() == 0)
    assert row(page, "span child").locator(".came.end").is_visible()


@pytest.mark.skipif(not AGENT.exists(), reason="no example agent")
def test_a_real_agent(page: Any, sgp: Sgp) -> None:
    """The LangGraph example runs: three traces, seen running, their conversations and tool calls readable."""
    pytest.importorskip("langgraph")
    environment = {
        **os.environ,
        "OTEL_EXPORTER_SGP_ENDPOINT": sgp.server.url,
        "OTEL_EXPORTER_SGP_API_KEY": "local",
        "OTEL_EXPORTER_SGP_ACCOUNT_ID": "local",
        "OPENAI_API_KEY": "",
        "no_proxy": "127.0.0.1",
    }
    page.goto(sgp.server.url)
    command = [sys.executable, str(AGENT), "--think-seconds", "0.6"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as agent:
        page.locator(".trace-row .sign.running").first.wait_for(timeout=30_000)
        assert agent.wait(60) == 0
    soon(page, lambda: page.locator(".trace-row .sign.success").count() == 3)
    page.get_by_text("Is it colder in Oslo than in Lisbon?").click()
    page.locator(".span-row").filter(has_text="chat stand-in-1").first.click()
    page.get_by_text('get_weather(city: "Lisbon")').wait_for()
    page.locator(".message.user").get_by_text("What is the weather in Paris?").wait_for()
    page.locator(".message.tool .role").get_by_text("tool · get_weather").wait_for()
    assert "27 tokens in, 8 out" in page.locator("#detail .facts").inner_text()


def test_an_error_is_seen_from_afar(page: Any, sgp: Sgp) -> None:
    """In the list, in the tree, in the head of the trace, and with its message where the span is shown."""
    failure = {"error_type": "ConnectError", "error_message": "connection refused"}
    sgp.put_ok(span("root", until=0), span("bad", "root", until=-1, status="ERROR", metadata=failure))
    sgp.put_ok(*(span(str(number), "root", since=-1, until=0) for number in range(50)))
    page.goto(sgp.server.url)
    page.get_by_role("button", name="Errors").click()
    page.locator(".trace-row .pill.error").get_by_text("1 error").click()
    failed = page.locator(".span-row.failed")
    failed.get_by_text("connection refused").wait_for()
    page.keyboard.press("e")
    page.locator(".problem").get_by_text("ConnectError").wait_for()
    assert page.locator("#errors i:visible").count() == 1


def test_hostile_text_does_nothing(page: Any, sgp: Sgp) -> None:
    """Wherever text comes from outside: names, ids, groups, messages, keys, errors."""
    said = [{"role": HOSTILE, "content": HOSTILE, "tool_calls": [{"name": HOSTILE, "arguments": {HOSTILE: HOSTILE}}]}]
    fields = {"name": HOSTILE, "group_id": HOSTILE, "input": {"messages": said}, "output": {HOSTILE: HOSTILE}}
    failure = {"error_type": HOSTILE, "error_message": HOSTILE, "model": HOSTILE}
    sgp.put_ok(span(HOSTILE, until=0, status="ERROR", metadata=failure, **fields))
    page.goto(sgp.server.url)
    page.locator(".trace-row").click()
    page.locator("#detail .message").first.wait_for()
    for text in ("#head h2", "#detail h3", ".message .text", ".problem"):
        assert HOSTILE in page.locator(text).first.inner_text()
    page.wait_for_timeout(200)
    assert page.locator("img, script:not([type=module])").count() == 0
    page.reload()  # the id of the span is in the address now
    page.locator("#detail .message").first.wait_for()


def test_5000_spans(page: Any, sgp: Sgp) -> None:
    """Drawn row by row: few nodes, every frame in time, the last row at the end, a new span in place at once."""
    sgp.put_ok(span("root", since=-60))
    for first in range(0, 5000, 500):
        numbers = range(first, first + 500)
        sgp.put_ok(
            *(span(f"{n:04}", "root", since=-50 + n / 200, until=-49 + n / 200, type="COMPLETION") for n in numbers)
        )
    began = time.monotonic()
    open_trace(page, sgp)
    row(page, "span root").wait_for()
    assert time.monotonic() - began < 10
    slowest_frames = page.evaluate(
        """async () => {
            const rows = document.querySelector("#spans"), frames = [];
            let last = performance.now();
            for (let n = 0; n < 120; n++) {
                rows.scrollTop += rows.scrollHeight / 120;
                await new Promise(requestAnimationFrame);
                frames.push(performance.now() - last);
                last = performance.now();
            }
            return frames.sort((a, b) => a - b).slice(-12);
        }"""
    )
    print("slowest frames of 120, ms:", [round(frame) for frame in slowest_frames])
    assert slowest_frames[0] < 250  # nine in ten; 17 when nothing else runs
    row(page, "span 4999").wait_for()
    assert page.locator(".span-row").count() < 80
    sgp.put_ok(span("new", "root", since=0))
    page.keyboard.press("End")
    row(page, "span new").wait_for()


def test_keyboard_and_deep_links(page: Any, sgp: Sgp) -> None:
    """Up and down, fold and unfold; the address names the span, and leads back to it."""
    sgp.put_ok(span("a", until=0), span("b", "a", since=-1.5, until=0), span("c", "b", since=-1, until=0))
    open_trace(page, sgp)
    page.locator("#detail h3").get_by_text("span a").wait_for()
    page.keyboard.press("ArrowDown")
    page.locator("#detail h3").get_by_text("span b").wait_for()
    page.keyboard.press("ArrowLeft")
    soon(page, lambda: page.locator(".span-row").count() == 2)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("j")
    page.locator("#detail h3").get_by_text("span c").wait_for()
    assert page.url.endswith("#/acme/t/c")
    page.reload()
    page.locator("#detail h3").get_by_text("span c").wait_for()
    page.keyboard.press("Escape")
    page.locator(".trace-row").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator(".span-row").first.wait_for()


def test_filters(page: Any, sgp: Sgp) -> None:
    """By text, status, type and group."""
    sgp.put_ok(
        span("1", until=0, trace_id="t1", name="alpha", group_id="morning", type="COMPLETION"),
        span("2", trace_id="t2", name="beta", group_id="evening"),
        span("3", until=0, trace_id="t3", name="gamma", status="ERROR", input={"query": "alphabet"}),
    )
    page.goto(sgp.server.url)
    page.locator(".trace-row").first.wait_for()

    def expect(names: set[str]) -> None:
        soon(page, lambda: set(page.locator(".trace-row:visible .title").all_inner_texts()) == names)

    expect({"alpha", "beta", "gamma"})
    page.locator("#find").fill("ALPHA")
    expect({"alpha", "gamma"})
    page.locator("#find").fill("")
    for status, expected in {"Running": {"beta"}, "Errors": {"gamma"}, "Done": {"alpha", "gamma"}}.items():
        page.get_by_role("button", name=status).click()
        expect(expected)
    page.get_by_role("button", name="All", exact=True).click()
    page.locator("#type").select_option("COMPLETION")
    expect({"alpha"})
    page.locator("#type").select_option("")
    page.locator("#group").select_option("evening")
    expect({"beta"})


def test_orders(page: Any, sgp: Sgp) -> None:
    """The newest first, or by what a click on a heading says, and the other way round."""
    usage = {"usage": {"input_tokens": 9, "cost_usd": 0.5}}
    sgp.put_ok(
        span("1", trace_id="t1", name="old and long", since=-9, until=-1),
        span("2", trace_id="t2", name="dear", since=-5, until=-4, output=usage),
        span("3", trace_id="t3", name="new", since=-2, until=0),
        span("4", "3", trace_id="t3", since=-2, until=0),
    )
    page.goto(sgp.server.url)
    rows = page.locator(".trace-row:visible")

    def shown() -> list[str]:
        """From top to bottom, whatever the order of the nodes."""
        tops = [(row.bounding_box()["y"], row.locator(".title").inner_text()) for row in rows.all()]
        return [title for _, title in sorted(tops)]

    def expect(titles: list[str]) -> None:
        soon(page, lambda: shown() == titles)

    expect(["new", "dear", "old and long"])
    for heading, expected in {
        "Duration": ["old and long", "new", "dear"],
        "Spans": ["new", "dear", "old and long"],
        "Tokens in · out": ["dear", "new", "old and long"],
        "Cost": ["dear", "new", "old and long"],
        "Started": ["new", "dear", "old and long"],
    }.items():
        page.get_by_role("button", name=heading).click()
        expect(expected)
    page.get_by_role("button", name="Started").click()
    expect(["old and long", "dear", "new"])


def test_both_moments_of_arrival(page: Any, sgp: Sgp) -> None:
    """When the START came and when the END did, and a START that came after the END in the colour of a warning."""
    sgp.put_ok(span("a", since=-1))
    sgp.put_ok(span("a", since=-1, until=0))
    sgp.put_ok(span("a", since=-1))
    open_trace(page, sgp)
    arrivals = page.locator(".times")
    arrivals.wait_for()
    assert "START arrived" in arrivals.inner_text()
    assert "END arrived" in arrivals.inner_text()
    page.get_by_text("Written by 2 STARTs and 1 END.").wait_for()
    assert page.locator(".note.warn").inner_text() == "1 START arrived after the END."
    page.locator("#head .pill.warn").get_by_text("1 late START").wait_for()


def test_json_and_copy(page: Any, sgp: Sgp) -> None:
    """What is no conversation is a tree that opens; what is copied is the whole."""
    nested = {"a": {"b": {"c": {"d": "deep"}}}, "list": list(range(250))}
    sgp.put_ok(span("a", until=0, input=nested))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_trace(page, sgp)
    tree = page.locator(".part", has_text="Input").locator(".json")
    tree.wait_for()
    assert tree.get_by_text("deep").count() == 0
    for key in "bc":
        tree.locator("summary", has=page.locator(".k").get_by_text(key, exact=True)).click()
    tree.get_by_text("deep").wait_for()
    page.locator(".part", has_text="Input").get_by_role("button", name="Copy").click()
    page.get_by_text("Copied").wait_for()
    assert '"deep"' in page.evaluate("navigator.clipboard.readText()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(page: Any, sgp: Sgp, scheme: str) -> None:
    """As the system has it, until the person says otherwise; remembered."""
    page.emulate_media(color_scheme=scheme)
    page.goto(sgp.server.url)

    def is_dark() -> bool:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) < 200

    assert is_dark() == (scheme == "dark")
    page.get_by_role("button", name="Auto").click()
    page.get_by_role("button", name="Light").click()
    page.reload()
    page.get_by_role("button", name="Dark").wait_for()
    assert is_dark()


def test_on_a_phone(page: Any, sgp: Sgp) -> None:
    """Nothing is wider than the screen; a span opens over the tree and closes again."""
    page.set_viewport_size({"width": 380, "height": 700})
    sgp.put_ok(
        span("root", until=0, name="a rather long name of a span " * 3), span("child", "root", since=-1, until=0)
    )
    page.goto(sgp.server.url)
    page.locator(".trace-row").click()
    row(page, "span child").wait_for()
    assert page.locator("#detail").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") == 380
    row(page, "span child").click()
    page.locator("#detail h3").get_by_text("span child").wait_for()
    page.get_by_role("button", name="Spans").click()
    assert page.locator("#detail").is_hidden()


def test_the_key_is_asked_for(page: Any) -> None:
    """A wrong one again and again; the right one is kept for the tab, over a reload."""
    with Sgp(api_key="key") as sgp:
        sgp.put_ok(span("root", until=0))
        page.goto(sgp.server.url)
        for key in ("wrong", "ключ", "key"):
            page.locator("#key").fill(key)
            page.get_by_role("button", name="Show the traces").click()
            page.wait_for_timeout(300)
        page.locator(".trace-row").wait_for()
        page.reload()
        page.locator(".trace-row").wait_for()


def test_a_server_that_comes_back(page: Any, sgp: Sgp) -> None:
    """The page says that it is cut off, and shows what the new server has, not what the old one had."""
    sgp.put_ok(span("old", until=0))
    page.goto(sgp.server.url)
    page.get_by_text("span old").wait_for()
    sgp.server.stop()
    page.get_by_text("no answer from the server").wait_for()
    sgp.server.start()
    sgp.put_ok(span("new", until=0))
    page.get_by_text("span new").wait_for()
    assert page.locator(".trace-row").count() == 1


def test_a_server_that_forgets(page: Any, sgp: Sgp) -> None:
    """What is cleared is gone from the page too, and what comes after is shown."""
    sgp.put_ok(span("old", until=0))
    page.goto(sgp.server.url)
    page.get_by_text("span old").wait_for()
    page.locator("#find").fill("span old")
    page.wait_for_timeout(500)
    sgp.server.clear()
    page.get_by_text("No traces yet").wait_for()
    sgp.put_ok(span("new", until=0))
    page.get_by_text("No trace fits the filters").wait_for()
    page.locator("#find").fill("")
    page.get_by_text("span new").wait_for()


def test_a_trace_that_is_not_there_yet(page: Any, sgp: Sgp) -> None:
    """A link may be opened before the first span has arrived."""
    page.goto(f"{sgp.server.url}/#/acme/t")
    page.get_by_text("No such trace yet").wait_for()
    sgp.put_ok(span("root"))
    row(page, "span root").wait_for()


def test_spans_that_are_each_others_parents(page: Any, sgp: Sgp) -> None:
    """Whatever the parents say, every span is shown once."""
    sgp.put_ok(span("a", "b", until=0), span("d", "nowhere", until=0))
    sgp.put_ok(span("b", "a", until=0))
    open_trace(page, sgp)
    names = page.locator(".span-row .name")
    soon(page, lambda: sorted(names.all_inner_texts()) == ["span a", "span b", "span d"])


def test_what_spans_say_is_found(page: Any, sgp: Sgp) -> None:
    """In the list: traces whose spans say it, also those that come later. In a trace: its spans, the others dimmed."""
    sgp.put_ok(
        span("1", until=0, trace_id="t1", name="alpha"),
        span("2", "1", since=-1, until=0, trace_id="t1", output={"station": {"name": "Blindern"}}),
        span("3", "1", since=-1, until=0, trace_id="t1"),
        span("4", until=0, trace_id="t2", name="beta", metadata={"note": "nothing"}),
    )
    page.goto(sgp.server.url)
    page.locator(".trace-row").first.wait_for()
    page.keyboard.press("/")
    page.keyboard.type("BLINDern")
    titles = page.locator(".trace-row:visible .title")
    soon(page, lambda: titles.all_inner_texts() == ["alpha"])
    sgp.put_ok(span("5", trace_id="t3", name="gamma", input={"query": "to blindern"}))
    soon(page, lambda: sorted(titles.all_inner_texts()) == ["alpha", "gamma"])

    page.locator(".trace-row").filter(has_text="alpha").click()
    page.locator("#detail h3").get_by_text("span 2").wait_for()
    assert page.locator("#seek").input_value() == "blindern"
    assert page.locator("#hits").inner_text() == "1 of 3 spans"
    assert page.locator(".span-row.miss .name").all_inner_texts() == ["alpha", "span 3"]
    page.locator("#seek").fill("span")
    soon(page, lambda: page.locator("#hits").inner_text() == "2 of 3 spans")
    page.keyboard.press("Enter")
    page.locator("#detail h3").get_by_text("span 3").wait_for()
    page.keyboard.press("Shift+Enter")
    page.locator("#detail h3").get_by_text("span 2").wait_for()
    page.locator("#seek").fill("")
    soon(page, lambda: page.locator(".span-row.miss").count() == 0)


def test_links_groups_and_widths(page: Any, sgp: Sgp) -> None:
    """A row of the list is a link, a group leads to its traces, the line between tree and span can be dragged."""
    sgp.put_ok(span("a", until=0, group_id="g"), span("b", until=0, trace_id="t2", name="other"))
    page.goto(sgp.server.url)
    row = page.locator(".trace-row").filter(has_text="span a")
    assert row.get_attribute("href") == "#/acme/t"
    row.click()
    page.locator("#detail h3").wait_for()
    before = page.locator("#detail").bounding_box()
    page.mouse.move(before["x"], 400)
    page.mouse.down()
    page.mouse.move(before["x"] - 200, 400)
    page.mouse.up()
    soon(page, lambda: abs(page.locator("#detail").bounding_box()["width"] - before["width"] - 200) < 10)
    page.reload()
    page.locator("#detail h3").wait_for()
    assert page.locator("#detail").bounding_box()["width"] > before["width"] + 150
    page.locator("#head").get_by_role("button", name="g", exact=True).click()
    soon(page, lambda: page.locator(".trace-row:visible .title").all_inner_texts() == ["span a"])
