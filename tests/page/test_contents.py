"""One span on the page: its messages, prose and numbers, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest
from browsing import open_trace, span
from sgp_client import Sgp

PROSE = """# Heading
A **bold**, an *inclined* word and `code`; 2*3*4, snake_case_name and a lonely ** stay.

- first
  1) nested

> quoted

| a | b |
|---|---|
| 1 | `2` |

```python
x = "**not bold**"
```
[a link](https://example.com/a) and https://example.com/b. [no](javascript:alert('link'))
| not | a table |
<b>not bold</b>"""


def test_prose_is_set_as_it_was_meant(page: Any, sgp: Sgp) -> None:
    """The Markdown of models: headings, lists, quotes, tables, code, emphasis, links; all else as it was written."""
    sgp.put_ok(span("a", until=0, output={"content": PROSE}))
    open_trace(page, sgp)
    text = page.locator(".message .text")
    text.wait_for()
    for selector, expected in {
        ".heading": ["Heading"],
        ".block > b": ["bold"],
        ".block > i": ["inclined"],
        ".block > code": ["code"],
        ".item": ["•\nfirst", "1)\nnested"],
        ".quote": ["quoted"],
        "th": ["a", "b"],
        "td": ["1", "2"],
        ".code": ['x = "**not bold**"'],
    }.items():
        assert text.locator(selector).all_inner_texts() == expected
    links = text.locator("a")
    assert [link.get_attribute("href") for link in links.all()] == ["https://example.com/a", "https://example.com/b"]
    assert {link.get_attribute("rel") for link in links.all()} == {"noopener noreferrer"}
    whole = text.inner_text()
    for kept in ("2*3*4, snake_case_name and a lonely ** stay", "[no](javascript:alert('link'))", "| not | a table |"):
        assert kept in whole
    assert "<b>not bold</b>" in whole


CALL = {"name": "look_up", "arguments": '{"city": "Oslo"}'}
FORMS: dict[str, dict[str, Any]] = {
    "chat completions": {
        "messages": [
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": CALL}]},
            {"role": "tool", "tool_call_id": "c", "content": "snow"},
        ]
    },
    "responses": {
        "input": [
            {"type": "function_call", "call_id": "c", **CALL},
            {"type": "function_call_output", "call_id": "c", "output": "snow"},
        ]
    },
    "blocks": {
        "messages": [
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c", "name": "look_up", "input": {"city": "Oslo"}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "snow"}]},
        ]
    },
    "parts": {
        "messages": [
            {
                "role": "assistant",
                "parts": [{"type": "tool_call", "id": "c", "name": "look_up", "arguments": {"city": "Oslo"}}],
            },
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "snow"}]},
        ]
    },
    "LangChain": {
        "value": [
            {"type": "ai", "content": "", "tool_calls": [{"id": "c", "name": "look_up", "args": {"city": "Oslo"}}]},
            {"type": "tool", "tool_call_id": "c", "content": "snow"},
        ]
    },
    "choices": {"choices": [{"index": 0, "message": {"role": "assistant", "content": "snow", "tool_calls": [CALL]}}]},
}


@pytest.mark.parametrize("form", FORMS)
def test_conversations_of_every_form(page: Any, sgp: Sgp, form: str) -> None:
    """Whichever API or framework wrote them: messages are messages, calls are calls, results are readable."""
    sgp.put_ok(span("a", until=0, input=FORMS[form]))
    open_trace(page, sgp)
    page.locator(".message .call").get_by_text('look_up(city: "Oslo")').wait_for()
    page.locator(".message .text").get_by_text("snow", exact=True).wait_for()
    assert page.locator(".message .json").count() == 0


def test_messages_are_not_said_twice(page: Any, sgp: Sgp) -> None:
    """An agent's output that begins with its input shows what is new, and the rest when asked."""
    asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]
    said = [*asked, {"role": "assistant", "content": "Because."}]
    sgp.put_ok(span("a", until=0, input={"messages": asked}, output={"messages": said}))
    open_trace(page, sgp)
    output = page.locator(".part", has_text="Output")
    output.locator(".message").wait_for()
    assert output.locator(".message .text").all_inner_texts() == ["Because."]
    output.get_by_role("button", name="Show 2 messages as in the input").click()
    assert output.locator(".message .text").all_inner_texts() == ["Be kind.", "Why?", "Because."]


def test_tokens_cost_and_model(page: Any, sgp: Sgp) -> None:
    """Of a call as its exporter reports them; of the trace in the list and in its head."""
    usage = {"input_tokens": 300, "output_tokens": 20, "cached_input_tokens": 128, "cost_usd": 0.0123}
    metadata = {"model": "a-model", "time_to_first_token_ms": 320}
    sgp.put_ok(span("a", until=0, type="COMPLETION", output={"content": "Hi", "usage": usage}, metadata=metadata))
    page.goto(sgp.server.url)
    page.locator(".trace-row .tokens").get_by_text("300 · 20").wait_for()
    assert page.locator(".trace-row .cost").inner_text() == "$0.012"
    page.locator(".trace-row").click()
    facts = page.locator("#detail .facts")
    facts.wait_for()
    assert "300 tokens in (128 cached), 20 out" in facts.inner_text()
    for fact in ("a-model", "$0.012", "first token after 320 ms"):
        assert fact in facts.inner_text()
    assert page.locator(".span-row .used").inner_text() == "300 · 20"
    assert "300 tokens in, 20 out" in page.locator("#head .facts").inner_text()


@pytest.mark.parametrize("kind", ["toString", None])
def test_types_that_are_no_speakers(page: Any, sgp: Sgp, kind: Any) -> None:
    """What looks a little like a message is JSON."""
    sgp.put_ok(span("a", until=0, input={"items": [{"type": kind, "content": "hello"}]}))
    open_trace(page, sgp)
    page.locator(".part", has_text="Input").locator(".json").get_by_text("items").wait_for()
    assert page.locator(".message").count() == 0


ODD: list[Any] = [
    *(None, 5, "x", [], {}, [None], [5], ["x"], [[]], [{}]),
    [{"role": 5}],
    [{"role": "user"}],
    [{"role": "user", "content": {"a": 1}}],
    [{"role": "user", "content": [None, 5, "x", [], {}, {"type": "tool_use"}, {"type": "tool_result"}]}],
    [{"role": "user", "parts": 5, "reasoning": 5}],
    [{"role": "tool", "tool_call_id": {}, "name": []}],
    [{"role": "assistant", "tool_calls": [None, 5, {}, {"function": {"name": None, "arguments": "{bad"}}]}],
    [{"message": {"message": {"role": "x"}}}],
    [{"type": "function_call"}, {"type": "function_call_output"}],
    [{"type": "ai", "content": None}],
]


@pytest.mark.parametrize("key", ["messages", "content", "tool_calls"])
def test_payloads_of_any_shape(page: Any, sgp: Sgp, key: str) -> None:
    """Whatever stands where a conversation, a count or an error is looked for, the span is shown."""
    odd = ({key: value, "usage": value} for value in ODD)
    metadata = ({"model": v, "cost_usd": v, "time_to_first_token_ms": v, "error_message": v, "usage": v} for v in ODD)
    fields = zip(odd, metadata, strict=True)
    sgp.put_ok(
        *(
            span(f"{n:02}", since=n - 100, until=n - 99, input=payload, output=payload, metadata=said, status="ERROR")
            for n, (payload, said) in enumerate(fields)
        )
    )
    open_trace(page, sgp)
    for n in range(len(ODD)):
        page.locator("#detail h3").get_by_text(f"span {n:02}").wait_for()
        page.keyboard.press("ArrowDown")
