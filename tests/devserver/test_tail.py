"""`otel-sgp tail` against the local SGP: what it prints, and what it makes of trouble."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from sgp_client import Sgp, ended, started

from otel_sgp_exporter import _tail
from otel_sgp_exporter._cli import main
from otel_sgp_exporter._tail._tree import lines
from otel_sgp_exporter._tail._views import Log, Screen
from otel_sgp_exporter._tail._watch import Refused, Watch

LONG_AGO = datetime(2026, 1, 1, tzinfo=timezone.utc)
COMMAND = [sys.executable, "-c", "import sys; from otel_sgp_exporter._cli import main; sys.exit(main())", "tail"]


def names(traces: list[list[dict[str, Any]]]) -> list[list[str]]:
    return [[line.name for line in lines(trace)] for trace in traces]


def test_a_trace_settles_when_it_is_over_and_quiet(sgp: Sgp) -> None:
    """Read again until nothing is open and nothing changes; then once more as settled, and never again."""
    watch = Watch(sgp.http, LONG_AGO)
    sgp.put_ok(started("a"), started("b", parent_id="a"))
    assert [names(traces) for traces in watch.poll(0)] == [[], [["n", "└─ n"]]]
    assert [len(traces) for traces in watch.poll(60)] == [0, 1]
    sgp.put_ok(ended("a"), ended("b", parent_id="a"))
    assert [len(traces) for traces in watch.poll(61)] == [0, 1]
    assert [len(traces) for traces in watch.poll(62)] == [0, 1]
    assert [len(traces) for traces in watch.poll(65)] == [1, 0]
    assert watch.poll(66) == ([], [])
    assert sgp.http.post("/v5/spans/search", json={}).json()["items"]


def test_all_pages_are_read(sgp: Sgp) -> None:
    """More spans than a page holds."""
    for first in range(0, 2500, 500):
        sgp.put_ok(*(ended(str(number)) for number in range(first, first + 500)))
    _, [trace] = Watch(sgp.http, LONG_AGO).poll(0)
    assert len({span["id"] for span in trace}) == 2500


def test_pages_that_stop_early_are_read_on(serve: Callable[..., Sgp]) -> None:
    """Also an empty one."""
    sgp = serve(search_row_budget=2)
    sgp.put_ok(*(ended(f"s{n}", trace_id="over") for n in range(6)), ended("z"))
    watch = Watch(sgp.http, LONG_AGO)
    watch.poll(0)
    sgp.put_ok(started("y"))
    watch.poll(1)
    assert [len(traces) for traces in watch.poll(10)] == [1, 1]
    _, [trace] = watch.poll(11)
    assert [span["id"] for span in trace] == ["y", "z"]


def test_what_began_before_is_not_shown(sgp: Sgp) -> None:
    """The tail begins where it is told to."""
    sgp.put_ok(ended())
    assert Watch(sgp.http, datetime.now(timezone.utc)).poll(0) == ([], [])


def test_the_tree_in_a_log(sgp: Sgp) -> None:
    """A line when a span is first seen, one when it has ended; nothing twice, nothing that moves the cursor."""
    out = io.StringIO()
    log, watch = Log(out), Watch(sgp.http, LONG_AGO)
    sgp.put_ok(started("a", name="agent\x1b[2J\n"))
    log.show(*watch.poll(0))
    log.show(*watch.poll(1))
    usage = {"content": "Hello.", "usage": {"input_tokens": 3, "output_tokens": 4}}
    metadata = {"error_type": "ConnectError", "error_message": "refused"}
    sgp.put_ok(
        ended("a", name="agent\x1b[2J\n"),
        ended("b", parent_id="a", name="model", output=usage),
        ended("c", parent_id="a", name="tool", status="ERROR", metadata=metadata),
    )
    log.show(*watch.poll(2))
    written = [line[10:] for line in out.getvalue().splitlines()]
    assert [line.split("●")[0].split("✓")[0].split("✕")[0].rstrip() for line in written] == [
        "agent [2J",
        "agent [2J",
        "├─ model",
        "└─ tool",
    ]
    assert written[3].endswith("ConnectError: refused")
    assert "Hello." in written[2]
    assert "\x1b" not in out.getvalue()


CALL = {"name": "look_up"}


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"content": "Hello.", "usage": {"input_tokens": 3, "output_tokens": 4}}, "3 in, 4 out  Hello."),
        ({"content": "", "tool_calls": [CALL, {"type": "function", "function": CALL}]}, "→ look_up, look_up"),
        ({"messages": [{"role": "user"}, {"role": "assistant", "content": "Bye."}]}, "Bye."),
        ({"sky": "rain"}, '{"sky": "rain"}'),
        ({"tool_calls": 5, "messages": 5, "usage": 5, "content": None}, ""),
        ({"tool_calls": [5], "messages": [5], "usage": {"input_tokens": None}}, ""),
    ],
)
def test_a_word_about_each_span(sgp: Sgp, output: dict[str, Any], words: str) -> None:
    """The same under every profile; nothing that a span may carry is in the way of the rest."""
    sgp.put_ok(ended(output=output))
    _, [trace] = Watch(sgp.http, LONG_AGO).poll(0)
    assert [line.words.rstrip() for line in lines(trace)] == [words]


def test_spans_that_are_each_others_parents(sgp: Sgp) -> None:
    """Each is shown once."""
    sgp.put_ok(ended("a", name="a", parent_id="b"), ended("c", name="c"))
    sgp.put_ok(ended("b", name="b", parent_id="a"))
    _, live = Watch(sgp.http, LONG_AGO).poll(0)
    assert names(live) == [["c", "a", "└─ b"]]


def test_the_tree_on_a_terminal(sgp: Sgp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn over itself while it runs, no line wider or more lines than the terminal has."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "10")
    out = io.StringIO()
    screen, watch = Screen(out), Watch(sgp.http, LONG_AGO)
    sgp.put_ok(*(started(str(number), name="宽" * 60) for number in range(30)))
    screen.show(*watch.poll(0))
    screen.show(*watch.poll(1))
    assert out.getvalue().count("\x1b[8F\x1b[J") == 1
    assert max(len(line) for line in out.getvalue().splitlines()) < 100


def test_refusals_and_trouble(serve: Callable[..., Sgp]) -> None:
    """A key that is wrong stays wrong; a server that is busy is asked again."""
    sgp = serve(api_key="key")
    with sgp.as_account("acme", "wrong") as client, pytest.raises(Refused, match="401"):
        Watch(client, LONG_AGO).poll(0)
    sgp.server.fault(status=503)
    watch = Watch(sgp.http, LONG_AGO)
    with pytest.raises(httpx.HTTPStatusError):
        watch.poll(0)
    assert watch.poll(1) == ([], [])


def test_without_settings_it_is_the_local_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key in the environment and no endpoint: what `otel-sgp serve` prints. Elsewhere a key is needed."""
    config = _tail._config(None, None)
    assert (config.endpoint, config.api_key, config.account_id) == ("http://127.0.0.1:5003", "local", "local")
    with pytest.raises(ValueError, match="api_key"):
        _tail._config("https://sgp.example", None)
    monkeypatch.setenv("SGP_API_KEY", "k")
    monkeypatch.setenv("SGP_ACCOUNT_ID", "acme")
    config = _tail._config(None, None)
    assert (config.endpoint, config.api_key, config.account_id) == ("https://api.egp.scale.com", "k", "acme")


def test_wrong_usage(capsys: pytest.CaptureFixture[str], sgp: Sgp) -> None:
    """A sentence and exit status 2."""
    assert main(["tail", "--endpoint", "ftp://example"]) == 2
    assert "endpoint" in capsys.readouterr().err


def test_as_a_user_runs_it(sgp: Sgp) -> None:
    """In a terminal: a running span appears, ends, and Ctrl-C leaves with status 0."""
    reading, writing = pty.openpty()
    arguments = ["--endpoint", sgp.server.url, "--account-id", "acme"]
    now = datetime.now(timezone.utc)
    with subprocess.Popen([*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, stdin=writing) as process:
        os.close(writing)
        screen = ""

        def read_until(text: str) -> None:
            nonlocal screen
            while text not in screen:
                screen += os.read(reading, 65536).decode()

        giving_up = threading.Timer(60, process.kill)
        giving_up.start()
        sgp.put_ok(started(name="answer", start_timestamp=now.isoformat()))
        read_until("answer")
        assert "●" in screen
        times = {"start_timestamp": now.isoformat(), "end_timestamp": (now + timedelta(seconds=1.5)).isoformat()}
        sgp.put_ok(started(name="answer", **times))
        read_until("✓ 1.50 s")
        process.send_signal(2)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
        giving_up.cancel()
    os.close(reading)
