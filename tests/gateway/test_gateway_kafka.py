"""Members of a consumer group over Kafka's own protocol: nothing lost, nothing committed early, poison set aside."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from broker import Cluster, cluster
from otlp import JSON, TRACE_ID, Gateway, environment, post, request_of, running, span

from faults import refused
from otel_sgp_exporter.gateway.dead_letters import DeadLetters
from otel_sgp_exporter.gateway.intake import Intake
from otel_sgp_exporter.gateway.message import UnderWay
from otel_sgp_exporter.gateway.offsets import Offsets
from support import Answer, Request, StubServer, upserts, wait_until

TOPIC = "otlp_spans"
GROUP = "otel-sgp-gateway"
DEAD = "otlp_spans-dead-letters"

Starts = Callable[..., Gateway]


@pytest.fixture
def kafka() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture
def fast(tmp_path: Path) -> tuple[str, ...]:
    """librdkafka's broker lets nobody leave the group, and waits for their time-out."""
    path = tmp_path / "librdkafka.conf"
    path.write_text("# a comment\nsession.timeout.ms=6000\nheartbeat.interval.ms = 500\n")
    return ("--kafka-config", str(path))


def trace_of(number: int) -> bytes:
    return (2**64 + number).to_bytes(16, "big")


def messages(traces: range, spans: int = 3) -> list[tuple[bytes, bytes]]:
    """A message for each trace, keyed by its id, as the Collector's exporter does when it is asked to."""
    return [
        (
            trace_of(number),
            request_of(
                *(span(each, f"span {number}-{each}", trace_id=trace_of(number)) for each in range(1, spans + 1))
            ).SerializeToString(),
        )
        for number in traces
    ]


def names_of(traces: range, spans: int = 3) -> set[str]:
    return {f"span {number}-{each}" for number in traces for each in range(1, spans + 1)}


def delivered(server: StubServer) -> set[str]:
    return {item["name"] for item in server.items}


def settle(kafka: Cluster, count: int = 1) -> None:
    """Everything in the topic is committed."""
    ends = kafka.ends(TOPIC)
    wait_until(lambda: kafka.committed(GROUP, TOPIC) == ends, 30)


def arguments(kafka: Cluster) -> tuple[str, ...]:
    return ("--kafka", kafka.address)


def test_messages_are_delivered_and_then_committed(kafka: Cluster, server: StubServer, gateway_to: Starts) -> None:
    """`otlp_proto` and `otlp_json` of the Collector, told apart."""
    spans = b'[{"traceId":"%s","spanId":"00f067aa0ba902b7","name":"json"}]' % TRACE_ID.hex().encode()
    written = b'{"resourceSpans":[{"scopeSpans":[{"spans":' + spans + b"}]}]}"
    kafka.write(TOPIC, [*messages(range(40)), (b"", written)])
    gateway_to(server.url, *arguments(kafka))
    wait_until(lambda: delivered(server) == {"json", *names_of(range(40))}, 30)
    settle(kafka)


def test_nothing_is_committed_that_sgp_has_not_taken(kafka: Cluster, gateway_to: Starts) -> None:
    """And nothing behind it, though that has been delivered."""
    release = threading.Event()

    def script(request: Request) -> Answer | None:
        held = any(name.startswith("span 3-") for name in request.names) and not release.is_set()
        return Answer(500) if held else None

    with StubServer(script) as server:
        kafka.write(TOPIC, [*messages(range(8))], partition=0)
        gateway_to(server.url, *arguments(kafka))
        wait_until(lambda: len(server.requests) > 3, 30)
        assert kafka.committed(GROUP, TOPIC).get(0, 0) <= 3
        release.set()
        wait_until(lambda: names_of(range(8)) <= delivered(server), 30)
        settle(kafka)


def test_spans_that_were_given_up_are_offered_again(
    kafka: Cluster, gateway_to: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage longer than the export timeout costs nothing: the message is still here, and in Kafka."""
    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "200")
    answers = iter([500] * 6)
    with StubServer(lambda request: Answer(next(answers, 200))) as server:
        kafka.write(TOPIC, messages(range(2)))
        gateway = gateway_to(server.url, *arguments(kafka))
        settle(kafka)
        assert gateway.tenants.known()[0].pipeline.stats().dropped
    assert names_of(range(2)) == {name for request in server.requests[6:] for name in request.names}


POISON = [(b"", b"\xff\xff no request"), (b"", b"{broken"), (b"", b"")]


def test_poison_goes_to_the_dead_letters_and_the_partition_goes_on(
    kafka: Cluster, server: StubServer, gateway_to: Starts
) -> None:
    """With the reason and the place where it was; an empty message is an empty request and no poison."""
    kafka.write(TOPIC, [*messages(range(2)), *POISON, *messages(range(2, 4))], partition=1)
    gateway = gateway_to(server.url, *arguments(kafka))
    wait_until(lambda: delivered(server) == names_of(range(4)), 30)
    settle(kafka)
    dead = kafka.read(DEAD, 2)
    assert {POISON[0][1], POISON[1][1]} == {message.value() for message in dead}
    headers = [dict(message.headers() or ()) for message in dead]
    assert {b"otlp_spans[1]@2", b"otlp_spans[1]@3"} == {each["sgp.place"] for each in headers}
    assert all(each["sgp.error"].startswith(b"The body is no ") for each in headers)
    assert (2, 5) == (gateway.counts.get("messages", how="dead"), gateway.counts.get("messages", how="delivered"))


def test_a_message_with_a_span_that_sgp_refuses_is_kept_as_a_dead_letter(kafka: Cluster, gateway_to: Starts) -> None:
    """Its other spans are delivered, and the dead letter names the one."""
    with StubServer(lambda request: Answer(422) if "span 1-2" in request.names else None) as server:
        kafka.write(TOPIC, messages(range(3)))
        gateway_to(server.url, *arguments(kafka))
        settle(kafka)
        [dead] = kafka.read(DEAD, 1)
    assert b"0000000000000002 of trace 00000000000000010000000000000001: refused" in dict(dead.headers())["sgp.error"]
    assert {"span 1-1", "span 1-3"} <= delivered(server)


def test_without_a_dead_letter_topic_poison_is_logged_and_passed(
    kafka: Cluster, server: StubServer, gateway_to: Starts, caplog: pytest.LogCaptureFixture
) -> None:
    kafka.write(TOPIC, [*POISON, *messages(range(1))], partition=0)
    gateway_to(server.url, *arguments(kafka), "--dead-letter-topic", "none")
    settle(kafka)
    assert "Kafka message otlp_spans[0]@0 cannot be delivered" in caplog.text
    assert "no request" not in caplog.text


def test_a_message_that_we_fail_on_is_a_dead_letter_too(
    kafka: Cluster, server: StubServer, gateway_to: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would end every member that reads it, one after the other."""

    def fails(self: object, *args: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Intake, "_unpacked", fails)
    kafka.write(TOPIC, messages(range(2)))
    gateway = gateway_to(server.url, *arguments(kafka))
    settle(kafka)
    assert [b"RuntimeError"] * 2 == [dict(each.headers())["sgp.error"] for each in kafka.read(DEAD, 2)]
    assert not gateway.failure


def test_a_message_names_its_tenant(kafka: Cluster, server: StubServer, gateway_to: Starts, tmp_path: Path) -> None:
    """In a header, as `include_metadata_keys` of the Collector writes it; also one that has a token of its own."""
    path = f"{tmp_path}/tenants.json"
    with open(path, "w") as file:
        file.write('{"a": {"api_key": "key-of-a", "account_id": "account-a", "token": "t"}}')
    kafka.write(TOPIC, messages(range(1)), headers=[("x-sgp-tenant", b"a")])
    kafka.write(TOPIC, messages(range(1, 2)), headers=[("x-sgp-tenant", b"nobody")])
    gateway_to(server.url, *arguments(kafka), "--tenants", str(path))
    settle(kafka)
    assert {"account-a"} == {request.headers["x-selected-account-id"] for request in server.requests}
    assert b"x-sgp-tenant" in dict(kafka.read(DEAD, 1)[0].headers())["sgp.error"]


def test_a_full_gateway_fetches_nothing_and_stays_a_member(kafka: Cluster, gateway_to: Starts) -> None:
    """What does not fit waits in Kafka; when SGP takes spans again, everything is delivered in order."""
    release = threading.Event()
    with StubServer(lambda request: release.wait(30) and None) as server:  # type: ignore[func-returns-value]
        kafka.write(TOPIC, messages(range(200)))
        gateway = gateway_to(server.url, *arguments(kafka), max_records=60)
        pipeline = gateway.tenants.known()[0].pipeline
        wait_until(lambda: pipeline.stats().pending >= 55, 30)
        member = gateway._member
        assert member is not None
        wait_until(lambda: member._paused is True)
        assert pipeline.stats().pending <= 60
        release.set()
        wait_until(lambda: delivered(server) == names_of(range(200)), 60)
        settle(kafka)


def test_health_and_metrics_without_a_receiver(kafka: Cluster, server: StubServer, gateway_to: Starts) -> None:
    kafka.write(TOPIC, messages(range(8)))
    gateway = gateway_to(server.url, *arguments(kafka))
    wait_until(lambda: post(gateway.url, b"", path="/readyz", method="GET").status == 200, 30)
    settle(kafka)

    def metrics() -> str:
        return post(gateway.url, b"", path="/metrics", method="GET").body.decode()

    wait_until(lambda: "sgp_gateway_kafka_partitions 4\n" in metrics())
    wait_until(lambda: 'sgp_gateway_kafka_lag{topic="otlp_spans"' in metrics() and "} 0\n" in metrics())
    assert 'sgp_gateway_messages_total{how="delivered"} 8\n' in metrics()
    assert post(gateway.url, b"{}", content_type=JSON).status == 404


def test_a_member_that_stops_leaves_its_partitions_to_the_others(
    kafka: Cluster, server: StubServer, gateway_to: Starts, fast: tuple[str, ...]
) -> None:
    """Committed to the end, so that nothing is delivered twice."""
    kafka.write(TOPIC, messages(range(40)))
    first = gateway_to(server.url, *arguments(kafka), *fast, "--encoding", "otlp_proto")
    wait_until(lambda: delivered(server) == names_of(range(40)), 30)
    first.stop()
    assert kafka.ends(TOPIC) == kafka.committed(GROUP, TOPIC)
    kafka.write(TOPIC, messages(range(40, 80)))
    gateway_to(server.url, *arguments(kafka), *fast)
    wait_until(lambda: delivered(server) == names_of(range(80)), 30)
    assert {1} == {len(kinds) for kinds in upserts(server.items).values()}


def test_a_member_that_stops_waits_for_what_is_in_flight(kafka: Cluster, gateway_to: Starts) -> None:
    """And commits it: whoever has the partition next begins behind it."""
    asked, release = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        asked.set()
        release.wait(20)

    with StubServer(hold) as server:
        kafka.write(TOPIC, messages(range(4)), partition=2)
        gateway = gateway_to(server.url, *arguments(kafka))
        assert asked.wait(30)
        stopping = threading.Thread(target=gateway.stop)
        stopping.start()
        wait_until(lambda: gateway._draining)
        release.set()
        stopping.join()
        assert names_of(range(4)) == delivered(server)
    assert {2: 4} == kafka.committed(GROUP, TOPIC)


def test_a_dead_letter_that_cannot_be_written_is_not_committed() -> None:
    """Rather stuck than lost: it is written again until the topic has it."""
    buried: list[object] = []
    with refused() as nobody:
        config = {"bootstrap.servers": nobody.removeprefix("http://"), "message.timeout.ms": 100, "log_level": 0}
        letters = DeadLetters(config, DEAD, lambda under, how: buried.append(under))
        written: list[object] = []
        letters.bury(UnderWay("t", 0, 0, b"value", [], None, Offsets()), "why")
        write = letters._write
        letters._write = lambda *arguments: written.append(arguments) or write(*arguments)  # type: ignore[method-assign,func-returns-value]

        def polled() -> bool:
            letters.poll()
            return len(written) > 1

        wait_until(polled)
    assert not buried


def test_members_share_the_partitions_and_one_that_is_killed_loses_nothing(fast: tuple[str, ...]) -> None:
    """Three processes on three brokers; one is killed with kill -9 in the middle, another joins, a third is stopped.

    Every span arrives, each as a complete row, and in the end everything is committed.
    """
    traces = range(1200)
    with cluster(3) as kafka, StubServer(latency_seconds=0.1) as server, contextlib.ExitStack() as stack:

        def member() -> tuple[object, str]:
            return stack.enter_context(running(*arguments(kafka), *fast, env=environment(server.url)))

        kafka.write(TOPIC, messages(range(400)))
        members = [member() for _ in range(2)]
        wait_until(lambda: len(delivered(server)) > 100, 40)
        members[0][0].kill()  # type: ignore[attr-defined]
        members.append(member())
        kafka.write(TOPIC, messages(range(400, 800)))
        wait_until(lambda: len(delivered(server)) > 800, 60)
        members[1][0].send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
        kafka.write(TOPIC, messages(range(800, 1200)))
        wait_until(lambda: delivered(server) == names_of(traces), 60)
        settle(kafka)
        ends = upserts(server.items)
    assert 3 * len(traces) == len(ends)
    assert {"end"} == {kind for kinds in ends.values() for kind in kinds}


def test_a_start_and_its_end_stay_in_order_with_one_partition_for_a_trace(kafka: Cluster, gateway_to: Starts) -> None:
    """Keyed by trace id, both are one member's, whose lane for the span keeps them in order."""

    def both(number: int) -> list[tuple[bytes, bytes]]:
        key = trace_of(number)
        fields = {"trace_id": key, "name": f"span {number}"}
        start, end = span(1, end_time_unix_nano=0, **fields), span(1, **fields)
        return [(key, request_of(each).SerializeToString()) for each in (start, end)]

    with StubServer(latency_seconds=0.05) as server:
        kafka.write(TOPIC, [message for number in range(100) for message in both(number)])
        gateway_to(server.url, *arguments(kafka))
        wait_until(lambda: sum("end" in kinds for kinds in upserts(server.items).values()) == 100, 30)
    assert all(kinds in (["start", "end"], ["end"]) for kinds in upserts(server.items).values())
