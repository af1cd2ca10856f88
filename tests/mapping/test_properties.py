"""Whatever stands on a span: it maps, to a valid item, and the END knows all that the START knew."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any

import pytest
from captured import NAMES, load, record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made import START_NS, end, start
from opentelemetry.sdk.trace import Event

from otel_sgp_exporter._mapping import MappingOptions, TraceMemory, timestamp, to_item
from otel_sgp_exporter._mapping import _facts as facts
from otel_sgp_exporter._mapping import _precedence as precedence
from otel_sgp_exporter._mapping._types import SPAN_TYPES
from otel_sgp_exporter._record import Phase
from otel_sgp_exporter._wire import _encode

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def known_keys() -> list[str]:
    """Every key that some table reads, families with the endings that they may have."""
    chains = (*precedence.INPUTS.values(), *precedence.OUTPUTS.values(), precedence.TOOLS)
    keys = {source.key for chain in chains for source in chain} | {kind.key for kind in precedence.KINDS}
    keys |= {field.key for chain in (*facts.USAGE.values(), facts.GROUP_ID, facts.USER_ID) for field in chain.fields}
    endings = ("0", "0.role", "0.content", "1.message.content", "0.message.tool_calls.0.tool_call.id", "²", "0..a")
    families = {prefix + ending for prefix in precedence.FAMILIES.prefixes for ending in (*endings, "9" * 30)}
    explicit = {"sgp.type", "sgp.name", "sgp.input", "sgp.output", "sgp.expected", "sgp.metadata.x", "sgp.group_id"}
    return sorted(families | {key for key in keys if not key.endswith(".")} | explicit | {"metadata", "error.type"})


WORDS = (
    "role content parts type text messages generations choices message output lc kwargs data tool_calls function "
    "arguments name id documents query input contents config candidates response summary usage mime_type "
    "additional_kwargs human ai tool assistant blob tool_call_response function_call __REDACTED__"
)
word = st.sampled_from(WORDS.split(" ")) | st.text(max_size=3)
leaf = st.none() | st.booleans() | st.integers() | st.floats() | word | st.binary(max_size=3)
nested = st.recursive(
    leaf,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(word, inner, max_size=4),
    max_leaves=12,
)
text_of_json = nested.map(lambda value: json.dumps(value, default=repr))
kind = st.sampled_from([value for rule in precedence.KINDS for value in rule.types])
attributes = st.dictionaries(
    st.sampled_from(known_keys()) | st.text(max_size=5) | st.integers() | st.none(),
    nested | text_of_json | kind,
    max_size=12,
)
long_text = st.sampled_from(["data:image/png;base64," + "iVBO" * 30, "iVBORw0K" * 200, "x " * 900])
option = st.builds(MappingOptions, st.booleans(), st.booleans(), st.sampled_from(["auto", "link", "root"]))


def encoded(item: dict[str, Any]) -> bytes:
    """The item as the wire would send it, odd leaves and keys made fit in the simplest way."""
    return json.dumps(item, default=repr, skipkeys=True).encode()


def emptied(part: Any) -> None:
    """Everything in it that can be changed, gone."""
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        emptied(inner)
    if isinstance(part, (dict, list)):
        part.clear()


def assert_valid(item: dict[str, Any], *, ended: bool) -> None:
    assert item["type"] in SPAN_TYPES
    assert item["status"] in {"SUCCESS", "ERROR", "CANCELED"}
    assert all(isinstance(item[name], str) and item[name] for name in ("name", "id", "trace_id", "start_timestamp"))
    assert ("end_timestamp" in item) is ended
    assert all(isinstance(item.get(name, {}), dict) for name in ("input", "output", "metadata", "expected"))
    assert all("." not in key for key in item["metadata"] if key != "resource")
    assert len(item.get("group_id", "").encode()) <= 256
    assert encoded(item)


@QUICK
@given(attributes, attributes, option)
def test_any_attributes_whatsoever_map_to_a_valid_item(first: Any, second: Any, options: MappingOptions) -> None:
    memory = TraceMemory()
    began, ended = start(), end(events=[Event("exception", {}, START_NS), Event("gen_ai.choice", None, START_NS)])
    began.attributes, ended.attributes = first, second
    assert_valid(to_item(began, options, memory), ended=False)
    assert_valid(to_item(ended, options, memory), ended=True)


class Key(str, Enum):
    ROLE = "gen_ai.prompt.0.role"
    CONTENT = "gen_ai.prompt.0.content"
    MINE = "mine"


@pytest.mark.parametrize("first", [0, 1])
def test_keys_that_are_members_of_an_enumeration_mean_their_values(first: int) -> None:
    """For their own span and for others with the same keys as plain texts, whichever comes first."""
    said = {Key.ROLE: "user", Key.CONTENT: f"asked {first}", Key.MINE: 1, "gen_ai.operation.name": "chat"}
    plain = {str.__str__(key): value for key, value in said.items()}
    kinds = (said, plain)
    for attributes in (kinds[first], kinds[1 - first]):
        item = json.loads(_encode(to_item(start(attributes))))
        assert item["input"] == {"messages": [{"role": "user", "content": f"asked {first}"}]}
        assert item["metadata"]["attributes"]["mine"] == 1


@QUICK
@given(attributes, attributes)
def test_an_end_has_every_member_that_its_start_had(first: Any, second: Any) -> None:
    memory = TraceMemory()
    began, ended = start(), end()
    began.attributes, ended.attributes = first, second
    assert to_item(began, memory=memory).keys() <= to_item(ended, memory=memory).keys()


@QUICK
@given(attributes)
def test_an_end_that_knows_nothing_says_what_its_start_said(known: Any) -> None:
    memory = TraceMemory()
    began, ended = start(), end()
    began.attributes = known
    before, after = to_item(began, memory=memory), to_item(ended, memory=memory)
    kept = {name: part for name, part in after.items() if part != {} and name != "end_timestamp"}
    assert repr(kept) == repr(before)


@QUICK
@given(st.integers(-(10**19), 10**19) | st.integers(-(10**21), 10**21) | st.floats(0, 1e19))
def test_a_timestamp_is_that_of_the_calendar(ns: float) -> None:
    try:
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=int(ns) // 1000)
    except OverflowError:
        moment = (datetime.max if ns > 0 else datetime.min).replace(tzinfo=timezone.utc)
    assert timestamp(ns) == moment.isoformat(timespec="microseconds")


@pytest.mark.parametrize("name", NAMES)
def test_whoever_changes_an_item_changes_no_other(name: str) -> None:
    """Spans share what is remembered of their keys, their resource and their scope; a redactor may change its item."""
    for entry in load(name):
        ended = record(entry, Phase.END)
        first = to_item(ended)
        before = repr(first)
        emptied(first)
        assert repr(to_item(ended)) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_captured_start_loses_nothing_to_its_end(name: str) -> None:
    memory = TraceMemory()
    for entry in load(name):
        before = to_item(record(entry, Phase.START), memory=memory)
        after = to_item(record(entry, Phase.END), memory=memory)
        assert before.keys() <= after.keys()
        for member in ("input", "output"):
            assert not before.get(member) or after[member]
        assert before["metadata"].keys() - after["metadata"].keys() <= {"attributes"}


@QUICK
@given(st.data())
def test_no_part_of_a_captured_span_is_needed_to_map_the_rest(data: st.DataObject) -> None:
    """Any subset of any captured span's attributes, in any order, as limits and processors may leave them."""
    entries = load(data.draw(st.sampled_from(NAMES)))
    whole = record(data.draw(st.sampled_from(entries)), Phase.END)
    keys = list(whole.attributes)
    kept = data.draw(st.lists(st.sampled_from(keys), unique=True)) if keys else []
    whole.attributes = {key: whole.attributes[key] for key in kept}
    assert_valid(to_item(whole), ended=True)


def test_a_payload_that_contains_itself_ends() -> None:
    cycle: dict[str, Any] = {}
    cycle["again"] = [cycle] * 5
    ended = end()
    ended.attributes = {"openinference.span.kind": "CHAIN", "input.value": cycle, "mine": cycle}
    assert to_item(ended)["metadata"]["truncated"] is True
