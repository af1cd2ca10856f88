"""Encoding: whatever a span holds becomes valid JSON, and bodies keep to their size."""

import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_sgp_exporter._record import Phase, Record, snapshot
from otel_sgp_exporter._wire import EncodeError, Encoder, Redactor, body_bytes, body_chunks, packed, sanitised
from support import ended_span

CIRCULAR: dict[str, Any] = {"a": 1}
CIRCULAR["self"] = CIRCULAR


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        (b"text", "text"),
        (b"\xff\xfe", base64.b64encode(b"\xff\xfe").decode()),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("nul \0 gone", "nul  gone"),
        (2**63, 2**63),
        (2**70, str(2**70)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        ({1}, [1]),
        (Decimal("1.5"), "1.5"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (CIRCULAR, {"a": 1, "self": "[circular]"}),
    ],
    ids=repr,
)
def test_what_json_cannot_hold_becomes_the_nearest_readable_value(value: Any, expected: Any) -> None:
    """Each kind of odd value, by itself."""
    assert expected == sanitised(value)


def test_nesting_without_end_is_cut() -> None:
    """Depth is bounded, so that encoding is."""
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert "[too deep]" in json.dumps(sanitised(deep))


def texts(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


class Hostile:
    """An object that cannot even be described."""

    def __str__(self) -> str:
        raise RuntimeError("no")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner) | st.tuples(inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters()) | st.integers(), anything))
def test_any_attributes_whatever_are_encoded(attributes: dict[Any, Any]) -> None:
    """No value costs a span."""
    record = snapshot(Phase.END, ended_span(1, attributes=attributes))
    assert record is not None
    Encoder().seal(record)
    assert record.fragment is not None
    item = json.loads(record.fragment)
    assert item["name"] == "span"
    assert "\0" not in "".join(texts(item))


@pytest.mark.parametrize("value", [Hostile(), {"nested": Hostile()}, [float("nan"), 2**70], {1: CIRCULAR}], ids=repr)
def test_hostile_values_do_not_cost_the_span(value: Any) -> None:
    """Even an object without a text of its own is named."""
    record = snapshot(Phase.END, ended_span(1, attributes={"odd": value}))
    assert record is not None
    Encoder().seal(record)
    assert b"odd" in (record.fragment or b"")


def sealed(size: int) -> Record:
    record = snapshot(Phase.END, ended_span(1))
    assert record is not None
    record.seal(b"x" * size)
    return record


def test_a_sealed_record_lets_go_of_the_span() -> None:
    """From encoding on, only the encoded bytes are held."""
    record = snapshot(Phase.END, ended_span(1, attributes={"prompt": "long"}))
    assert record is not None
    Encoder().seal(record)
    assert not record.attributes
    assert record.parent is None


@given(st.lists(st.binary(min_size=1, max_size=200_000), max_size=6))
def test_the_body_is_as_long_as_announced(fragments: list[bytes]) -> None:
    """`content-length` is exact, and pieces stay small unless one item is large."""
    chunks = list(body_chunks(fragments))
    assert body_bytes(fragments) == sum(map(len, chunks))
    assert b"".join(chunks) == b'{"items":[' + b",".join(fragments) + b"]}"


@given(st.lists(st.integers(1, 3000), max_size=30), st.integers(50, 5000))
def test_requests_keep_to_their_size_and_order(sizes: list[int], max_bytes: int) -> None:
    """Only a record that is too large by itself exceeds it, alone."""
    records = [sealed(size) for size in sizes]
    requests = list(packed(records, max_bytes))
    assert records == [record for request in requests for record in request]
    for request in requests:
        assert len(request) == 1 or body_bytes([record.fragment or b"" for record in request]) <= max_bytes


def test_a_redactor_sees_the_finished_item() -> None:
    """What it returns is what is sent."""
    record = snapshot(Phase.END, ended_span(1, name="secret"))
    assert record is not None
    Encoder(redact=lambda item: {**item, "name": "redacted"}).seal(record)
    assert b'"name":"redacted"' in (record.fragment or b"")
    assert b"secret" not in (record.fragment or b"")


def test_a_redactor_gets_plain_json_to_change_at_will() -> None:
    """Lists instead of tuples, no values that JSON does not know; and nothing of it is the span's."""
    tags, odd = ("first", "second"), {"nested": float("nan")}
    record = snapshot(Phase.END, ended_span(1, attributes={"tags": tags, "odd": odd}))
    assert record is not None

    def redact(item: dict[str, Any]) -> dict[str, Any]:
        attributes = item["metadata"]["attributes"]
        attributes["tags"].append("third")
        assert attributes["odd"] == {"nested": None}
        attributes["odd"].clear()
        return item

    Encoder(redact=redact).seal(record)
    assert b"redaction_failed" not in (record.fragment or b"")
    assert b"third" in (record.fragment or b"")
    assert odd.keys() == {"nested"}


@pytest.mark.parametrize("broken", [lambda item: item["no such key"], lambda item: None], ids=["raises", "no object"])
def test_a_redactor_that_fails_costs_the_content_and_not_the_span(broken: Redactor) -> None:
    """It fails closed."""
    record = snapshot(Phase.END, ended_span(1, attributes={"sgp.input": "private"}))
    assert record is not None
    Encoder(redact=broken).seal(record)
    assert b"private" not in (record.fragment or b"")
    assert b"redaction_failed" in (record.fragment or b"")


def test_what_cannot_be_encoded_at_all_says_so() -> None:
    """A record that makes no sense is an error of its own kind, and stays whole."""
    record = snapshot(Phase.END, ended_span(1))
    assert record is not None
    record.key = "nonsense"  # type: ignore[assignment]
    with pytest.raises(EncodeError):
        Encoder().seal(record)
    assert record.fragment is None
