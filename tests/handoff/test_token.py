"""What resume() takes for a token, and what it says of anything else."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanContext

from otel_sgp_exporter import handoff, resume

PROVIDER = TracerProvider(shutdown_on_exit=False)
LINK = Link(SpanContext(1, 2, is_remote=True), {"why": "cause"})


def made() -> dict[str, Any]:
    """A token with something in every field."""
    tracer = PROVIDER.get_tracer("scope", "1", "https://schema", {"a": 1})
    with tracer.start_as_current_span("request"):
        span = tracer.start_span("span", attributes={"a": 1}, links=[LINK])
    span.add_event("event", {"b": 2})
    token: dict[str, Any] = json.loads(json.dumps(handoff(span)))
    token["sgp"] |= {"start_until_unix_nano": "1", "ancestor": "00000000000000ab", "group_id": "group"}
    return token


TOKEN = made()
MISSING = object()


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    token = copy.deepcopy(TOKEN)
    at: Any = token
    for step in path[:-1]:
        at = at[step]
    if value is MISSING:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return token


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("version",), MISSING, "token.version must be a whole number; it is missing"),
        (("version",), True, "token.version must be a whole number; it is bool"),
        (("version",), 2, "token.version is 2; this version of the package reads 1"),
        (("trace_id",), "4bf9", "token.trace_id must be 32 small hex digits; it is str"),
        (("trace_id",), "0" * 32, "token.trace_id and token.span_id must both be zero, or neither"),
        (("span_id",), 7, "token.span_id must be 16 small hex digits; it is int"),
        (("trace_flags",), 256, "token.trace_flags must be a number from 0 to 255; it is int"),
        (("trace_state",), None, "token.trace_state must be a text; it is NoneType"),
        (("span",), "span", "token.span must be an object as handoff() makes it, not str"),
        (("span", "name"), MISSING, "token.span.name must be a text; it is missing"),
        (("span", "kind"), "FRIENDLY", "token.span.kind must be one of INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER"),
        (("span", "start_time_unix_nano"), 1.5, "token.span.start_time_unix_nano must be a text of digits"),
        (("span", "parent", "span_id"), "x", "token.span.parent.span_id must be 16 small hex digits"),
        (("span", "parent", "is_remote"), 1, "token.span.parent.is_remote must be true or false"),
        (("span", "attributes"), [], "token.span.attributes must be an object"),
        (("span", "events"), {}, "token.span.events must be a list"),
        (("span", "events", 0), 1, "token.span.events[0] must be an object"),
        (("span", "events", 0, "time_unix_nano"), "-1", "token.span.events[0].time_unix_nano must be a text of digits"),
        (("span", "links", 0, "trace_id"), MISSING, "token.span.links[0].trace_id must be 32 small hex digits"),
        (("span", "status", "code"), 1, "token.span.status.code must be one of UNSET, OK, ERROR"),
        (("span", "status"), None, "token.span.status must be an object"),
        (("span", "scope", "version"), 1, "token.span.scope.version must be a text"),
        (("span", "origin"), None, "token.span.origin must be an object"),
        (("sgp", "is_exported"), "yes", "token.sgp.is_exported must be true or false"),
        (("sgp", "ancestor"), "root", "token.sgp.ancestor must be 16 small hex digits"),
        (("sgp", "group_id"), 7, "token.sgp.group_id must be a text"),
    ],
    ids=str,
)
def test_a_damaged_token_is_refused_by_the_name_of_the_field(
    path: tuple[str | int, ...], value: Any, complaint: str
) -> None:
    """At the call, before any block is entered."""
    with pytest.raises(ValueError, match=r".") as refused:
        resume(changed(path, value), tracer_provider=PROVIDER)
    assert str(refused.value).startswith(complaint)


@pytest.mark.parametrize("foreign", [None, "token", 7, [], {}, {"traceparent": "00-0af7-b7ad-01"}], ids=str)
def test_what_is_no_token_is_refused(foreign: Any) -> None:
    with pytest.raises(ValueError, match="token"):
        resume(foreign)


def test_the_complaint_quotes_nothing() -> None:
    """A token may hold prompts, and errors end up in logs."""
    with pytest.raises(ValueError, match=r".") as refused:
        resume(changed(("span", "name"), ["my secret"]))
    assert "secret" not in str(refused.value)


def test_fields_of_the_future_are_passed_over() -> None:
    """A newer process may say more."""
    token = changed(("span", "colour"), "red") | {"more": [1]}
    with resume(token, tracer_provider=PROVIDER) as span:
        assert span.is_recording()


def test_a_token_with_nothing_but_context_is_that_context() -> None:
    """As of a span that recorded nothing."""
    token = {key: value for key, value in TOKEN.items() if key not in ("span", "sgp")}
    with resume(token, tracer_provider=PROVIDER) as span:
        assert not span.is_recording()
        assert trace.format_span_id(span.get_span_context().span_id) == TOKEN["span_id"]


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every path in the token."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in below for found in places(item, (*path, key)))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(path=st.sampled_from(places(TOKEN)[1:]), value=JSON)
def test_any_other_json_in_any_place_is_taken_or_refused_in_our_words(path: tuple[str | int, ...], value: Any) -> None:
    """Never an error that says nothing to whoever reads it."""
    complaint = None
    try:
        resumed = resume(changed(path, value), tracer_provider=PROVIDER)
    except ValueError as refused:
        complaint = str(refused)
    else:
        with resumed as span:
            span.get_span_context()
    assert complaint is None or complaint.startswith("token")
