"""Checklist items 2 and 40: the unmodified official client, strict about every response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from scale_gp_beta import AsyncSGPClient, ConflictError, NotFoundError, SGPClient
from sgp_client import Sgp, ended, started

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")

FULL = ended(
    input={"q": 1},
    output={"usage": {"input_tokens": 3, "output_tokens": 4}},
    metadata={"a": 1},
    expected={"r": 2},
    group_id="g",
    obs_trace_id="a" * 32,
    obs_span_id="b" * 16,
    application_variant_id="v",
    application_interaction_id="i",
)


@pytest.mark.parametrize("strict", [False, True])
def test_every_operation(sgp: Sgp, profile: str, strict: bool) -> None:
    """Item 2: create, batch, upsert, retrieve, search and update, parsed without complaint."""
    client = SGPClient(
        api_key="key", account_id="acme", base_url=f"{sgp.server.url}/public", _strict_response_validation=strict
    )
    with client:
        assert client.spans.create(**started("a")).id == "a"
        assert [span.id for span in client.spans.batch(items=[started("b"), FULL]).items] == ["b", "s"]
        assert client.spans.upsert_batch(items=[ended("a"), ended("a b/c%é")]).items[0].end_timestamp is not None
        assert client.spans.retrieve("a b/c%é").id == "a b/c%é"
        assert client.spans.retrieve("s").input_tokens == (3 if profile == "tracing-pg" else None)
        assert [span.id for span in client.spans.search(trace_ids=["t"], limit=10)] == ["a", "a b/c%é", "b", "s"]
        with pytest.raises(NotFoundError):
            client.spans.retrieve("unknown")
        if profile == "legacy":
            assert client.spans.update("b", output={"r": 1}).output == {"r": 1}


@pytest.mark.parametrize("strict", [False, True])
def test_every_operation_async(sgp: Sgp, profile: str, strict: bool) -> None:
    """Item 2: the same from asyncio."""

    async def run() -> list[str]:
        async with AsyncSGPClient(
            api_key="key", account_id="acme", base_url=sgp.server.url, _strict_response_validation=strict
        ) as client:
            await client.spans.create(**started("a"))
            await client.spans.batch(items=[started("b")])
            await client.spans.upsert_batch(items=[ended("a"), FULL])
            await client.spans.retrieve("s")
            if profile == "legacy":
                await client.spans.update("b", name="m")
            return [span.id async for span in client.spans.search(limit=2)]

    assert asyncio.run(run()) == ["a", "b", "s"]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_iteration(sgp: Sgp, order: Any) -> None:
    """Item 40: seven rows, three at a time: three requests, no gap, no repeat; and backwards from the end."""
    names = [f"s{n}" for n in range(7)]
    sgp.put_ok(*map(started, names))
    before = sgp.server.stats()["requests"]
    with SGPClient(api_key="key", account_id="acme", base_url=sgp.server.url) as client:
        found = [span.id for span in client.spans.search(limit=3, sort_order=order)]
        assert found == (names if order == "asc" else names[::-1])
        assert sgp.server.stats()["requests"] - before == 3
        pages = list(client.spans.search(limit=3, ending_before="s6").iter_pages())
        assert [[span.id for span in page.items] for page in pages] == [["s3", "s4", "s5"], ["s0", "s1", "s2"]]


def test_local_environment(serve: Callable[..., Sgp]) -> None:
    """Items 1 and 2: environment="local" means this server's default address, under /public."""
    keys: dict[str, Any] = {"api_key": "key", "account_id": "acme", "environment": "local"}
    with SGPClient(**keys) as client:
        assert str(client.base_url) == "http://127.0.0.1:5003/public/"
        try:
            serve(port=5003)
        except OSError:
            pytest.skip("port 5003 is taken")
        assert client.spans.upsert_batch(items=[ended("a")]).items[0].id == "a"

    async def found() -> list[str]:
        async with AsyncSGPClient(**keys, _strict_response_validation=True) as client:
            return [span.id async for span in client.spans.search()]

    assert asyncio.run(found()) == ["a"]


def test_every_filter_of_the_client(serve: Callable[..., Sgp]) -> None:
    """Items 2 and 37: all that `search` takes, in one request, met by the one span that is like that."""
    sgp = serve()
    metadata = {"__acp_type__": "async", "__agent_name__": "ann", "__agent_id__": "7", "k": 1}
    like_that = {**FULL, "parent_id": "p", "type": "COMPLETION", "metadata": metadata, "input": {"q": "Why Oslo?"}}
    sgp.put_ok(like_that, {**FULL, "id": "other"}, started("x"))
    with SGPClient(
        api_key="key", account_id="acme", base_url=sgp.server.url, _strict_response_validation=True
    ) as client:
        page = client.spans.search(
            allow_partial_results=True,
            from_ts="2026-11-20T00:00:00Z",
            to_ts="2026-11-21T00:00:00Z",
            limit=5,
            sort_by="start_timestamp",
            sort_order="desc",
            acp_types=["async"],
            agentex_agent_ids=["7"],
            agentex_agent_names=["ann"],
            application_variant_ids=["v"],
            excluded_span_ids=["y"],
            excluded_spans=[{"trace_id": "t", "span_id": "x"}],
            excluded_trace_ids=["t9"],
            extra_metadata={"k": [1, 2]},
            group_id="g",
            max_duration_ms=1500,
            min_duration_ms=1500,
            names=["n"],
            obs_span_ids=["b" * 16],
            obs_trace_ids=["a" * 32],
            parent_ids=["p"],
            parents_only=False,
            search_texts=["oslo"],
            span_ids=["s", "other"],
            spans=[{"trace_id": "t", "span_id": "s"}],
            statuses=["SUCCESS"],
            trace_ids=["t"],
            types=["COMPLETION"],
            x_project_id="p",
        )
        assert [span.id for span in page] == ["s"]
        assert list(client.spans.search(assessment_types=["rating"])) == []


def test_conflicts_are_retried(sgp: Sgp) -> None:
    """The client meets 409 with three requests, as with the service."""
    with SGPClient(api_key="key", account_id="acme", base_url=sgp.server.url) as client, pytest.raises(ConflictError):
        client.with_options(max_retries=1).spans.upsert_batch(items=[started(parent_id="s")])
    assert sgp.server.stats()["statuses"] == {409: 2}
