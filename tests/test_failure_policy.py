"""The failure policy as a table: a fault on a real socket, the requests made, what becomes of spans, the log."""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk.trace import TracerProvider

from faults import (
    Exchange,
    Fault,
    FaultProxy,
    applied_then_dropped,
    drips,
    half_open,
    passes,
    reset_after_body,
    reset_before_body,
    status,
)
from otel_sgp_exporter import ConcurrentBatchSpanProcessor, SGPSpanExporter
from support import StubServer, settings, wait_until

BEGINS, ENDS = "SGP takes no spans at the moment, they are tried again", "SGP takes spans again"
AUTH = "SGP refuses the API key or the account: check OTEL_EXPORTER_SGP_API_KEY and _ACCOUNT_ID"
CONFIG = "SGP is not at this address: check OTEL_EXPORTER_SGP_ENDPOINT"
ONE_LOST, TWO_LOST = "Lost so far: 1 span", "Lost so far: 2 spans"


class Row(NamedTuple):
    """What two spans, one named "good" and one "bad", meet in one request, and what comes of it by shutdown."""

    faults: Fault | list[Fault]
    """Of all requests, or of the first ones."""
    requests: list[int]
    """Spans in each request."""
    lost: dict[str, int]
    said: list[str]
    """How each line begins."""
    timeout_millis: int = 10_000
    """Of a request."""


def of_bad(fault: Fault) -> Fault:
    """`fault`, for requests with the bad span in them."""

    def chosen(exchange: Exchange) -> None:
        (fault if any(item["name"] == "bad" for item in exchange.items()) else passes)(exchange)

    return chosen


def passing(fault: Fault, timeout_millis: int = 10_000) -> Row:
    """It happens once, and costs a request."""
    return Row([fault], [2, 2], {}, [BEGINS, ENDS], timeout_millis)


TABLE = {
    "no fault": Row([], [2], {}, []),
    "connection reset before the body": passing(reset_before_body),
    "connection reset after the body": passing(reset_after_body),
    "applied, answer lost": passing(applied_then_dropped),
    "no answer": passing(half_open, 500),
    "an answer that drips": passing(drips(5), 500),
    **{str(code): passing(status(code)) for code in (408, 425, 429, 500, 502, 503, 504, 507, 599)},
    "503, Retry-After": passing(status(503, {"retry-after": "1"})),
    "429, retry-after-ms": passing(status(429, {"retry-after-ms": "100"})),
    "422, x-should-retry: true": passing(status(422, {"x-should-retry": "true"})),
    "503, x-should-retry: false": Row(status(503, {"x-should-retry": "false"}), [2], {"refused": 2}, [TWO_LOST]),
    "400 for one": Row(of_bad(status(400)), [2, 1, 1], {"refused": 1}, [ONE_LOST]),
    "422 for one": Row(of_bad(status(422)), [2, 1, 1], {"refused": 1}, [ONE_LOST]),
    "409 for one": Row(of_bad(status(409)), [2, 1, 1], {"refused": 1}, [ONE_LOST]),
    "422 for all": Row(status(422), [2, 1, 1], {"refused": 2}, [ONE_LOST, TWO_LOST]),
    "413 once": Row([status(413)], [2, 1, 1], {}, []),
    "413 for all": Row(status(413), [2, 1, 1, 1, 1], {"too_large": 2}, [ONE_LOST, TWO_LOST]),  # each shortened once
    **{str(code): Row(status(code), [2], {"refused": 2}, [TWO_LOST]) for code in (402, 410, 418)},
    **{str(code): Row(status(code), [2], {"auth": 2}, [AUTH, TWO_LOST]) for code in (401, 403)},
    **{
        str(code): Row(status(code, {"location": "/elsewhere"}), [2], {"config": 2}, [CONFIG, TWO_LOST])
        for code in (301, 302, 307, 308, 404, 405, 501)
    },
}


@pytest.fixture
def offered(server: StubServer) -> Callable[..., tuple[FaultProxy, ConcurrentBatchSpanProcessor]]:
    """Sends the two spans through the fault, flushes, and shuts down."""

    def make(row: Row, **options: Any) -> tuple[FaultProxy, ConcurrentBatchSpanProcessor]:
        faults = row.faults
        with FaultProxy(server.url, (lambda number: faults) if callable(faults) else faults) as proxy:
            exporter = SGPSpanExporter(**settings(proxy.url), timeout_millis=row.timeout_millis)
            processor = ConcurrentBatchSpanProcessor(
                exporter, start_delay_millis="off", schedule_delay_millis=600_000, **options
            )
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(processor)
            for name in ("good", "bad"):
                provider.get_tracer("t").start_span(name).end()
            processor.flush(10_000)
            processor.shutdown(100)
        return proxy, processor

    return make


def items_in(exchange: Exchange) -> int:
    return 2 if exchange._body is None else len(exchange.items())


def assert_said(caplog: pytest.LogCaptureFixture, row: Row) -> None:
    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "otel_sgp_exporter"]

    wait_until(lambda: len(lines()) >= len(row.said))  # the last is written after the flush was woken
    assert [line[: len(begin)] for line, begin in zip(lines(), row.said, strict=True)] == row.said, lines()


@pytest.mark.parametrize("name", TABLE)
def test_the_policy_line_by_line(
    server: StubServer, offered: Callable[..., Any], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Exactly these requests, exactly this loss, exactly these lines."""
    row = TABLE[name]
    proxy, processor = offered(row)
    assert [items_in(exchange) for exchange in proxy.seen] == row.requests
    stats = processor.stats()
    assert {reason.value: count for reason, count in stats.lost.items()} == row.lost
    assert stats.delivered == 2 - sum(row.lost.values())
    assert {item["name"] for item in server.items if row.lost} <= {"good"}
    assert_said(caplog, row)


def test_when_the_budget_is_spent(offered: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """What may pass is tried for as long as an export may take, and then lost under a name of its own."""
    row = Row(status(500), [2], {"budget_spent": 2}, [BEGINS, TWO_LOST])
    _, processor = offered(row, export_timeout_millis=1)
    assert {reason.value: count for reason, count in processor.stats().lost.items()} == row.lost
    assert_said(caplog, row)


def test_a_server_that_is_slow_to_accept_is_waited_for(server: StubServer) -> None:
    """The kernel has taken the connection and the request meanwhile: it is sent once."""
    accept = threading.Event()
    with FaultProxy(server.url, before_accept=lambda number: accept.wait(10)) as proxy:
        processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(**settings(proxy.url)), start_delay_millis="off")
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        provider.get_tracer("t").start_span("span").end()
        assert processor.flush(300).pending == 1
        accept.set()
        assert processor.flush(5000).complete
        assert len(proxy.seen) == 1
        processor.shutdown()
