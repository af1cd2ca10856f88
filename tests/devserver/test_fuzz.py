"""Whatever JSON comes, the server has an answer that the service could have given, and can still show what it keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sgp_client import Sgp

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=12)  # surrogates, too
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3))
OBJECTS = st.dictionaries(ANY_TEXT | st.sampled_from(["usage", "messages", "content", "password"]), JSON, max_size=4)
IDS = st.sampled_from(["a", "b", "c"]) | ANY_TEXT
TIMES = st.sampled_from(["2026-11-20T10:00:00Z", "2026-11-20T15:30:00+05:30", "2026-11-20T10:00:01.5Z", 1795168800])
WORDS = st.lists(ANY_TEXT | st.sampled_from(["a", '"', '"ab"', "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"]), max_size=3)


def spans(odd: Any) -> Any:
    """Write items in which every field may also be something odd."""
    fields = {
        "id": IDS,
        "parent_id": IDS,
        "group_id": IDS,
        "end_timestamp": TIMES,
        "status": st.sampled_from(["SUCCESS", "ERROR"]),
        "type": st.sampled_from(["COMPLETION", "TRACER"]),
        "obs_trace_id": st.just("a" * 32),
        **dict.fromkeys(("input", "output", "metadata", "expected"), OBJECTS),
        **dict.fromkeys(("application_variant_id", "application_interaction_id"), ANY_TEXT),
    }
    required = {"name": ANY_TEXT, "trace_id": IDS, "start_timestamp": TIMES}
    return st.fixed_dictionaries(
        {name: values | odd for name, values in required.items()},
        optional={name: values | odd for name, values in fields.items()},
    )


SPANS = spans(st.nothing())
BATCHES = st.fixed_dictionaries({"items": st.lists(SPANS, max_size=4) | st.lists(spans(JSON), max_size=4)}) | JSON
SEARCHES = JSON | st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("trace_ids", "span_ids", "parent_ids", "excluded_trace_ids", "names"), st.lists(IDS) | JSON),
        "spans": st.lists(st.fixed_dictionaries({"trace_id": IDS, "span_id": IDS})) | JSON,
        "search_texts": WORDS | JSON,
        "extra_metadata": OBJECTS | JSON,
        "min_duration_ms": st.integers() | JSON,
        "parents_only": st.booleans() | JSON,
    },
)
PARAMS = st.dictionaries(
    st.sampled_from(["limit", "sort_by", "sort_order", "from_ts", "to_ts", "starting_after", "allow_partial_results"]),
    st.sampled_from(["1", "desc", "duration_ms", "2026-11-20", "a", "true", "cursor.bnVsbA=="])
    | st.integers().map(str),
    max_size=3,
)
fuzzed = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", params=["legacy", "tracing-pg", "tracing-ch", "dual-tracing"])
def server(request: pytest.FixtureRequest) -> Any:
    with Sgp(profile=request.param, max_spans=200, search_row_budget=3) as sgp:
        yield sgp


def body(value: Any) -> bytes:
    return json.dumps(value).encode()  # escapes surrogates, as some clients do


@fuzzed
@given(batch=BATCHES, method=st.sampled_from(["PUT", "POST"]))
def test_writes(server: Sgp, batch: Any, method: str) -> None:
    """A documented status; what is answered can be read again, by the API and by the page."""
    reply = server.http.request(method, "/v5/spans/batch", content=body(batch))
    assert reply.status_code in (200, 400, 409, 422), reply.text
    assert server.http.get("/_standin/traces").status_code == 200
    if reply.status_code == 200:
        for item in reply.json()["items"]:
            listed = server.http.get("/_standin/traces/x", params={"account": item["account_id"]})
            assert listed.status_code == 200
    else:
        assert "detail" in reply.json()


@fuzzed
@given(wanted=SEARCHES, params=PARAMS)
def test_searches(server: Sgp, wanted: Any, params: dict[str, str]) -> None:
    """A page or a refusal."""
    reply = server.http.post("/v5/spans/search", params=params, content=body(wanted))
    assert reply.status_code in (200, 400, 422), reply.text
    assert ("items" if reply.status_code == 200 else "detail") in reply.json()


@fuzzed
@given(changes=OBJECTS | SPANS | JSON, id=IDS)
def test_single_spans(server: Sgp, changes: Any, id: str) -> None:
    """POST of one, PATCH and GET."""
    assert server.http.post("/v5/spans", content=body(changes)).status_code in (200, 400, 409, 422)
    path = "/v5/spans/" + "".join(f"%{byte:02X}" for byte in id.encode("utf-8", "replace"))
    assert server.http.patch(path, content=body(changes)).status_code in (200, 400, 404, 405, 409, 422, 501)
    assert server.http.get(path).status_code in (200, 404)


@fuzzed
@given(text=ANY_TEXT, fault=OBJECTS | JSON)
def test_the_control_path(server: Sgp, text: str, fault: Any) -> None:
    """The page's reads and the faults."""
    found = server.http.get("/_standin/matches", params={"text": text.encode("utf-8", "replace").decode()})
    assert found.status_code == 200
    assert server.http.post("/_standin/faults", content=body(fault)).status_code in (200, 422)
    server.http.delete("/_standin/faults")
