"""Checklist items 47 to 50: trouble on request, latency, capacity, counters."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from scale_gp_beta import APIStatusError, SGPClient
from sgp_client import Sgp, ended, started

from otel_sgp_exporter.devserver import Settings
from otel_sgp_exporter.devserver.faults import Faults


def statuses(sgp: Sgp, times: int) -> list[int]:
    return [sgp.put(started()).status_code for _ in range(times)]


def test_scripted_reply(sgp: Sgp) -> None:
    """Item 47: status, headers and body of the next request; nothing of it is stored."""
    headers = {"retry-after": "1", "retry-after-ms": "120", "x-should-retry": "false"}
    sgp.server.fault(status=503, headers=headers, body={"detail": "down"})
    reply = sgp.put(started())
    assert (reply.status_code, reply.json()) == (503, {"detail": "down"})
    assert headers.items() <= reply.headers.items()
    assert sgp.server.spans() == []
    assert statuses(sgp, 1) == [200]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"times": 2}, [503, 503, 200, 200]),
        ({"times": None}, [503, 503, 503, 503]),
        ({"skip": 1}, [200, 503, 200, 200]),
        ({"account": "acme"}, [503, 200, 200, 200]),
        ({"account": "other"}, [200, 200, 200, 200]),
        ({"method": "GET"}, [200, 200, 200, 200]),
        ({"probability": 0.0}, [200, 200, 200, 200]),
        ({"over_rate": 2, "times": None}, [200, 200, 503, 503]),
    ],
)
def test_which_requests_are_struck(sgp: Sgp, fault: dict[str, Any], expected: list[int]) -> None:
    """Item 47: by count, probability, account, method and rate."""
    sgp.server.fault(status=503, **fault)
    assert statuses(sgp, 4) == expected


def test_probability_follows_the_seed(serve: Callable[..., Sgp]) -> None:
    """Item 47: the same seed strikes the same requests."""
    runs = []
    for _ in range(2):
        sgp = serve(seed=7)
        sgp.server.fault(status=503, times=None, probability=0.5)
        runs.append(statuses(sgp, 12))
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 503}


@pytest.mark.parametrize(("commit", "stored"), [(False, []), (True, ["s"])])
def test_reset(sgp: Sgp, commit: bool, stored: list[str]) -> None:
    """Item 47: the connection is reset before or after the commit: applied, answer lost."""
    sgp.server.fault(reset=True, commit=commit)
    with pytest.raises(httpx.TransportError):
        sgp.put(started())
    assert [span["id"] for span in sgp.server.spans()] == stored
    assert statuses(sgp, 1) == [200]


def test_applied_but_answered_with_an_error(sgp: Sgp) -> None:
    """Item 47: the same with a status in place of the answer."""
    sgp.server.fault(status=504, commit=True)
    assert statuses(sgp, 1) == [504]
    assert [span["id"] for span in sgp.server.spans()] == ["s"]


def test_delay_and_drip(sgp: Sgp) -> None:
    """Item 47: a late answer, and a body that comes in pieces, both complete."""
    for fault in ({"delay_millis": 120}, {"drip_millis": 5}):
        sgp.server.fault(**fault)
        before = time.monotonic()
        assert sgp.put_ok(started())[0]["id"] == "s"
        assert time.monotonic() - before >= 0.1


def test_delays_end_with_the_client_and_the_server() -> None:
    """A black hole holds neither a client that gives up nor the server's end."""
    with Sgp() as sgp:
        sgp.server.fault(delay_millis=60_000, times=None)
        with pytest.raises(httpx.ReadTimeout):
            sgp.http.put("/v5/spans/batch", json={"items": []}, timeout=0.1)
        before = time.monotonic()
    assert time.monotonic() - before < 5


def test_control_path(sgp: Sgp) -> None:
    """Item 47: faults are added, listed and cleared over HTTP, off the API path."""
    added = sgp.http.post("/_standin/faults", json={"status": 429, "times": 5})
    assert [(fault["status"], fault["times"]) for fault in added.json()] == [(429, 5)]
    assert statuses(sgp, 1) == [429]
    assert sgp.http.get("/_standin/faults").json()[0]["times"] == 4
    assert sgp.http.delete("/_standin/faults").json() == []
    assert statuses(sgp, 1) == [200]
    for bad in ({"state": 503}, [], {"status": "down"}, {"times": -1}):
        assert sgp.http.post("/_standin/faults", json=bad).status_code == 422


def official(sgp: Sgp) -> SGPClient:
    return SGPClient(api_key="key", account_id="acme", base_url=sgp.server.url)


def test_official_client_outlasts_a_fault(sgp: Sgp) -> None:
    """Item 48: two 503 with Retry-After, then success: three requests that count themselves."""
    sgp.server.fault(status=503, headers={"retry-after-ms": "10"}, body={"detail": "down"}, times=2)
    with official(sgp) as client:
        assert client.spans.upsert_batch(items=[ended()]).items[0].id == "s"
    assert sgp.server.stats()["statuses"] == {200: 1, 503: 2}
    assert sgp.server.stats()["retry_counts"] == {"0": 1, "1": 1, "2": 1}


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_refusals_pass_unchanged(sgp: Sgp, status: int) -> None:
    """Item 48: one request, the detail as it was."""
    sgp.server.fault(status=status, body={"detail": "why"})
    with official(sgp) as client, pytest.raises(APIStatusError) as raised:
        client.spans.upsert_batch(items=[ended()])
    assert (raised.value.status_code, raised.value.body) == (status, {"detail": "why"})
    assert sgp.server.stats()["requests"] == 1


def in_parallel(sgp: Sgp, puts: Iterable[Any]) -> list[tuple[float, int]]:
    """Seconds and status of PUTs sent at once, each by a connection of its own."""

    def put(item: Any) -> tuple[float, int]:
        with sgp.as_account("acme") as http:
            http.get("/v5/spans/none")
            before = time.monotonic()
            status = http.put("/v5/spans/batch", json={"items": [item]}).status_code
            return time.monotonic() - before, status

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(put, puts))


def test_latency_is_concurrent(serve: Callable[..., Sgp]) -> None:
    """Item 49: every PUT takes its time, all of them at once; reads do not."""
    sgp = serve(latency_p50_millis=150)
    before = time.monotonic()
    taken = in_parallel(sgp, (started(f"s{n}") for n in range(8)))
    assert min(seconds for seconds, _ in taken) >= 0.149
    assert time.monotonic() - before < 8 * 0.15
    assert sgp.server.stats()["most_puts_in_flight"] > 1


def test_latency_is_lognormal() -> None:
    """Item 49: p50 and p95 are as set."""
    faults = Faults(Settings(latency_p50_millis=150, latency_p95_millis=330, seed=1))
    drawn = [faults.latency_seconds("PUT") for _ in range(4000)]
    percentiles = statistics.quantiles(drawn, n=20)
    assert percentiles[9] == pytest.approx(0.150, rel=0.05)
    assert percentiles[18] == pytest.approx(0.330, rel=0.05)
    assert faults.latency_seconds("GET") == 0


@pytest.mark.parametrize("status", [503, 429])
@pytest.mark.parametrize("retry_after", [None, 2])
def test_capacity(serve: Callable[..., Sgp], status: int, retry_after: int | None) -> None:
    """Item 49: PUTs beyond the capacity are refused, with or without Retry-After."""
    sgp = serve(capacity_per_second=3, over_capacity=status, retry_after_seconds=retry_after)
    replies = [sgp.put(started()) for _ in range(5)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, status, status]
    assert replies[-1].headers.get("retry-after") == (None if retry_after is None else "2")


def test_counters(sgp: Sgp) -> None:
    """Item 50: what arrived, and what became of it per id."""
    sgp.put_ok(started("a"), started("b"))
    sgp.put_ok(ended("a"))
    sgp.put_ok(started("a"))
    sgp.put(started(status="OK"))
    sgp.found()
    stats = sgp.http.get("/_standin/stats").json()
    assert stats["requests"] == 5
    assert stats["requests_by_path"] == {"PUT /v5/spans/batch": 4, "POST /v5/spans/search": 1}
    assert stats["statuses"] == {"200": 4, "422": 1}
    assert (stats["items"], stats["batch_sizes"]) == (5, {"1": 3, "2": 1})
    assert stats["bytes"] > 400
    assert (stats["distinct_ids"], stats["writes_per_id"]) == (2, {"1": 1, "3": 1})
    assert stats["starts_after_end"] == 1
    assert stats["most_puts_in_flight"] == 1
    (span,) = sgp.http.get("/_standin/stats", params={"id": "a"}).json()["spans"]
    assert (span["starts"], span["ends"], span["late_starts"]) == (2, 1, 1)


def test_late_starts_within_a_batch(sgp: Sgp) -> None:
    """Item 50: a START is late after an END of the same request, and after one of an earlier request."""
    sgp.put_ok(started("a"), ended("a"), started("a"))
    assert sgp.server.stats()["starts_after_end"] == 1
    sgp.put_ok(started("a"), ended("a"))
    assert sgp.server.stats()["starts_after_end"] == 2
