"""`otel-sgp replay`: a real spool, a real server, real processes."""

import argparse
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from otel_sgp_exporter import SGPSpanExporter
from otel_sgp_exporter._outcome import Reply
from otel_sgp_exporter._record import Phase, Record
from otel_sgp_exporter._replay import ReplayResult, add_arguments, replay, run
from otel_sgp_exporter._spool import LEASE_SECONDS, Spool
from support import TRACE_ID, Answer, Request, StubServer, nobody

MIB = 1024 * 1024
ACCOUNT = "account-for-tests"


def end(span_id: int) -> Record:
    item = {"id": str(span_id), "name": f"span {span_id}", "end_timestamp": "2026-01-01T00:00:00.000000+00:00"}
    return Record.of_fragment(Phase.END, (TRACE_ID, span_id), orjson.dumps(item))


def spool_with(directory: Path, url: str, spans: range, account_id: str = ACCOUNT) -> Spool:
    spool = Spool(directory, endpoint=url, account_id=account_id)
    assert len(spool.keep([end(span_id) for span_id in spans])) == len(spans)
    return spool


def ids(server: StubServer) -> list[int]:
    return [int(item["id"]) for item in server.items]


@pytest.fixture
def replay_to(tmp_path: Path, exporter_to: Callable[..., SGPSpanExporter]) -> Callable[..., ReplayResult]:
    """Replays the spool of this test to a URL."""

    def make(url: str, **options: object) -> ReplayResult:
        exporter = exporter_to(url, export_timeout_millis=options.pop("export_timeout_millis", 500))
        return replay(tmp_path, exporter, **options)  # type: ignore[arg-type]

    return make


def test_everything_is_delivered_oldest_first_and_once(
    tmp_path: Path, server: StubServer, replay_to: Callable[..., ReplayResult]
) -> None:
    """As it was encoded when it was kept; afterwards the spool is empty."""
    spool_with(tmp_path, server.url, range(500))
    progress: list[tuple[int, int]] = []
    result = replay_to(server.url, on_progress=lambda done, total: progress.append((done, total)))
    assert result == ReplayResult(500, 0, 0, {}, "")
    assert ids(server) == list(range(500))
    assert server.items[7] == orjson.loads(end(7).fragment or b"")
    assert progress == [(200, 500), (400, 500), (500, 500)]
    assert replay_to(server.url).delivered == 0


def test_spans_of_any_age_are_delivered(
    tmp_path: Path, server: StubServer, replay_to: Callable[..., ReplayResult]
) -> None:
    """Exporters give up what is a week old; who asks for a replay wants it all the same."""
    spool_with(tmp_path, server.url, range(3))
    assert replay_to(server.url, clock=lambda: time.time() + 3e7).delivered == 3


def test_a_server_that_is_down_costs_nothing(
    tmp_path: Path, server: StubServer, replay_to: Callable[..., ReplayResult]
) -> None:
    """What could not be delivered in the time of one export is in the spool as before, free for the next attempt."""
    nobody_there = "http://127.0.0.1:9"
    spool = spool_with(tmp_path, nobody_there, range(300))
    result = replay_to(nobody_there, export_timeout_millis=200)
    assert (result.delivered, result.left) == (0, 300)
    assert "refused" in result.why
    assert [record.key[1] for record in spool.claim(1000, MIB)] == list(range(300))


def test_a_wrong_key_puts_nothing_aside(tmp_path: Path, replay_to: Callable[..., ReplayResult]) -> None:
    """Nothing is wrong with the spans: they wait for a better key."""
    with StubServer(lambda request: Answer(401, body=b"no such key")) as server:
        spool = spool_with(tmp_path, server.url, range(3))
        assert replay_to(server.url) == ReplayResult(0, 0, 3, {}, "HTTP 401 no such key")
    assert len(spool.claim(9, MIB)) == 3


def test_what_the_server_refuses_is_put_aside_alone(tmp_path: Path, replay_to: Callable[..., ReplayResult]) -> None:
    """One bad span costs only itself, and is not sent again by the next replay."""

    def refuse_three(request: Request) -> Answer | None:
        return Answer(422, body=b"bad span") if "span 3" in request.names else None

    with StubServer(refuse_three) as server:
        spool_with(tmp_path, server.url, range(8))
        assert replay_to(server.url) == ReplayResult(7, 1, 0, {}, "")
        before = len(server.requests)
        assert replay_to(server.url).refused == 0
        assert len(server.requests) == before


def test_a_pause_that_the_server_asks_for_is_kept(tmp_path: Path, replay_to: Callable[..., ReplayResult]) -> None:
    """Then it goes on where it was."""
    answers = iter([Answer(503, {"retry-after-ms": "50"})])
    with StubServer(lambda request: next(answers, None)) as server:
        spool_with(tmp_path, server.url, range(3))
        assert replay_to(server.url).delivered == 3
        first, second = server.requests
    assert second.began - first.ended >= 0.05


def test_a_pause_longer_than_the_patience_ends_the_replay(
    tmp_path: Path, replay_to: Callable[..., ReplayResult]
) -> None:
    """Nobody waits a minute for nothing, and the server is left in peace."""
    with StubServer(lambda request: Answer(503, {"retry-after": "60"}, b"later")) as server:
        spool_with(tmp_path, server.url, range(3))
        assert replay_to(server.url) == ReplayResult(0, 0, 3, {}, "HTTP 503 later")
        assert len(server.requests) == 1


def test_a_replay_may_take_long_while_it_gets_on(tmp_path: Path, exporter_to: Callable[..., SGPSpanExporter]) -> None:
    """Patience is counted from the last delivery, not from the beginning."""
    skipped_seconds = [0.0]

    def take_long(request: Request) -> None:
        skipped_seconds[0] += 20

    with StubServer(take_long) as server:
        spool_with(tmp_path, server.url, range(1000))
        exporter = exporter_to(server.url, export_timeout_millis=30_000)
        exporter.delivery.clock = lambda: time.monotonic() + skipped_seconds[0]
        assert replay(tmp_path, exporter).delivered == 1000


def test_a_failing_server_is_left_in_peace_when_patience_is_over(
    tmp_path: Path, replay_to: Callable[..., ReplayResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the next pause would be longer than the time that is left, that is not filled with attempts."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    with StubServer(lambda request: Answer(503)) as server:
        spool_with(tmp_path, server.url, range(3))
        assert replay_to(server.url).left == 3
        assert len(server.requests) == 1


def test_no_request_outlives_the_lease_of_its_spans(
    tmp_path: Path, exporter_to: Callable[..., SGPSpanExporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long requests may take otherwise: another process could send a newer END meanwhile."""
    url = "http://127.0.0.1:9"
    spool_with(tmp_path, url, range(3))
    exporter = exporter_to(url, timeout_millis=600_000, export_timeout_millis=600_000)
    seconds: list[float] = []

    def send(body: object, size: int, deadline: float) -> Reply:
        seconds.append(deadline - time.monotonic())
        return Reply(200, {}, "")

    monkeypatch.setattr(exporter.delivery.transport, "send", send)
    assert replay(tmp_path, exporter).delivered == 3
    assert 0 < seconds[0] < LEASE_SECONDS


def test_spans_for_others_stay_and_are_named(
    tmp_path: Path, server: StubServer, replay_to: Callable[..., ReplayResult]
) -> None:
    """They would end up in the wrong account."""
    other = spool_with(tmp_path, server.url, range(2), account_id="another")
    assert replay_to(server.url) == ReplayResult(0, 0, 0, {other.destination: 2}, "")
    assert server.requests == []


def test_an_interrupted_replay_gives_its_spans_back(tmp_path: Path, replay_to: Callable[..., ReplayResult]) -> None:
    """Control-C in the middle of a request: nobody has to wait for a lease."""
    main_thread = threading.get_ident()
    interrupted = threading.Event()

    def interrupt(request: Request) -> Answer:
        signal.pthread_kill(main_thread, signal.SIGINT)
        return Answer(after=lambda: interrupted.wait(20))

    with StubServer(interrupt) as server:
        spool = spool_with(tmp_path, server.url, range(3))
        with pytest.raises(KeyboardInterrupt):
            replay_to(server.url)
        interrupted.set()
    assert len(spool.claim(9, MIB)) == 3


# The command line.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def command(server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Runs `otel-sgp replay` with the settings of this test in the environment; its status and what it says."""
    monkeypatch.setenv("OTEL_EXPORTER_SGP_API_KEY", "key-for-tests")
    monkeypatch.setenv("OTEL_EXPORTER_SGP_ACCOUNT_ID", ACCOUNT)
    monkeypatch.setenv("OTEL_EXPORTER_SGP_SPOOL_DIR", str(tmp_path))
    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "200")

    def make(*arguments: str, out: io.StringIO | None = None) -> tuple[int, str]:
        out = out or io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", out)
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        return run(parser.parse_args(arguments or ("--endpoint", server.url))), out.getvalue()

    return make


def test_the_command_says_how_far_it_is(
    tmp_path: Path, server: StubServer, command: Callable[..., tuple[int, str]]
) -> None:
    """A line for each tenth where nobody watches; status 0 when all is delivered."""
    spool_with(tmp_path, server.url, range(500))
    assert command() == (0, "200 of 500 spans\n400 of 500 spans\n500 of 500 spans\n500 spans delivered.\n")
    assert command() == (0, "0 spans delivered.\n")


def test_the_command_draws_a_bar_on_a_terminal(
    tmp_path: Path, server: StubServer, command: Callable[..., tuple[int, str]]
) -> None:
    """One line that is drawn anew."""
    spool_with(tmp_path, server.url, range(400))
    _, output = command(out=Terminal())
    assert output.split("\r") == [
        "",
        "#" * 20 + "." * 20 + " 200 of 400 spans",
        "#" * 40 + " 400 of 400 spans\n400 spans delivered.\n",
    ]


def test_the_command_fails_when_something_is_left(
    tmp_path: Path, server: StubServer, command: Callable[..., tuple[int, str]]
) -> None:
    """Status 1, with the reason, and a word about what waits for somebody else."""
    spool_with(tmp_path, "http://127.0.0.1:9", range(1))
    other = spool_with(tmp_path, server.url, range(2))
    status, output = command("--endpoint", "http://127.0.0.1:9")
    assert status == 1
    assert "1 span left: " in output
    assert output.endswith(f"2 spans for {other.destination}.\n")


def test_the_command_fails_when_another_process_has_the_spans(
    tmp_path: Path, server: StubServer, command: Callable[..., tuple[int, str]]
) -> None:
    """They may yet be delivered, but not by us."""
    spool_with(tmp_path, server.url, range(2)).claim(1, MIB)
    assert command() == (
        1,
        "1 of 2 spans\n1 span delivered.\n"
        "1 span left: another process is sending them, or has been, less than a minute ago.\n",
    )


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX users")
@pytest.mark.parametrize(
    ("mode_of", "mode", "said"),
    [
        ("directory", 0o700, "There may be more: the spool cannot be opened: [Errno 13] Permission denied"),
        ("file", 0o600, "There may be more: the spool cannot be opened: [Errno 13] Permission denied"),
        ("file", 0o644, "2 spans left: the spool cannot hand out spans: attempt to write a readonly database"),
    ],
)
def test_the_command_fails_when_the_spool_is_another_user_s(
    server: StubServer, command: Callable[..., tuple[int, str]], mode_of: str, mode: int, said: str
) -> None:
    """What cannot be looked at is not delivered."""
    if os.geteuid():
        pytest.skip("only root can be somebody else")
    with tempfile.TemporaryDirectory() as directory:  # pytest's own is for nobody else
        os.chmod(directory, 0o755)
        spool = spool_with(Path(directory), server.url, range(2))
        os.chmod(directory if mode_of == "directory" else spool.path, mode)
        with nobody():
            status, output = command("--spool-dir", directory, "--endpoint", server.url)
    assert status == 1
    assert output.startswith(f"0 spans delivered.\n{said}")


def test_the_command_fails_when_the_spool_was_corrupt(
    tmp_path: Path, server: StubServer, command: Callable[..., tuple[int, str]]
) -> None:
    """What was in it is still to be had by other means."""
    spool_with(tmp_path, server.url, range(2)).path.write_bytes(b"?" * 5000)
    status, output = command()
    assert status == 1
    assert "There may be more: the spool cannot deliver what was in it: it was corrupt" in output


@pytest.mark.parametrize(
    ("variable", "arguments", "complaint"),
    [
        ("OTEL_EXPORTER_SGP_SPOOL_DIR", (), "--spool-dir or OTEL_EXPORTER_SGP_SPOOL_DIR has to name the spool."),
        ("OTEL_EXPORTER_SGP_API_KEY", (), "api_key"),
        (None, ("--spool-dir", "/nowhere"), "/nowhere is no directory."),
        (None, ("--endpoint", "nonsense"), "endpoint must be an http:// or https:// URL."),
    ],
)
def test_wrong_usage_is_explained(
    command: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    """Status 2 and what is missing or wrong."""
    if variable is not None:
        monkeypatch.delenv(variable)
    status, output = command(*arguments)
    assert status == 2
    assert complaint in output


# Processes.

COMMAND = """
import argparse, sys
from otel_sgp_exporter._replay import add_arguments, run
parser = argparse.ArgumentParser()
add_arguments(parser)
sys.exit(run(parser.parse_args()))
"""


def start(directory: Path, url: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OTEL_EXPORTER_SGP_API_KEY": "k", "OTEL_EXPORTER_SGP_ACCOUNT_ID": ACCOUNT}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", COMMAND, "--spool-dir", str(directory), "--endpoint", url],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_kill_in_the_middle_of_replaying_loses_nothing(tmp_path: Path, replay_to: Callable[..., ReplayResult]) -> None:
    """What the killed process had claimed stays where it is until its lease is over, then everything has arrived."""
    third_arrived, killed = threading.Event(), threading.Event()

    def hold_the_third(request: Request) -> Answer | None:
        if "span 400" not in request.names or killed.is_set():
            return None
        third_arrived.set()
        return Answer(after=lambda: killed.wait(20))

    with StubServer(hold_the_third) as server:
        spool_with(tmp_path, server.url, range(1000))
        process = start(tmp_path, server.url)
        assert third_arrived.wait(20)
        process.kill()
        process.communicate()
        killed.set()
        before = set(ids(server))
        result = replay_to(server.url)
        assert (result.delivered, result.left) == (400, 200)
        assert set(ids(server)) - before >= set(range(600, 1000))
        assert replay_to(server.url, clock=lambda: time.time() + LEASE_SECONDS) == ReplayResult(200, 0, 0, {}, "")
    times = Counter(ids(server))
    assert sorted(times) == list(range(1000))
    assert {span_id for span_id, count in times.items() if count > 1} <= set(range(400, 600))


def test_two_replays_at_once_send_nothing_twice(tmp_path: Path) -> None:
    """They share the work: each waits until the other has come to the server, too."""
    both_here = threading.Barrier(2)
    senders: set[int] = set()

    def meet(request: Request) -> Answer | None:
        if request.port not in senders:
            senders.add(request.port)
            both_here.wait(20)
        return None

    with StubServer(meet) as server:
        spool_with(tmp_path, server.url, range(1000))
        processes = [start(tmp_path, server.url) for _ in range(2)]
        outputs = [process.communicate()[0] for process in processes]
    assert Counter(ids(server)) == Counter(range(1000)), outputs
    assert len(senders) == 2
