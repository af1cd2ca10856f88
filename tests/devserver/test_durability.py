"""What was answered with 200 outlives the process, and a database is not mistaken for another one."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sgp_client import Sgp, started

SERVE = """
import sys, threading
from otel_sgp_exporter.devserver import DevServer
with DevServer(sys.argv[1]) as server:
    print(server.url, flush=True)
    threading.Event().wait()
"""


def test_kill_9(tmp_path: Path, serve: Callable[..., Sgp]) -> None:
    """A PUT that was answered is there after a kill, and the next process numbers its writes on."""
    database = tmp_path / "spans.sqlite"
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(database)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        headers = {"x-api-key": "key", "x-selected-account-id": "acme"}
        reply = httpx.put(f"{url}/v5/spans/batch", json={"items": [started("a")]}, headers=headers)
        assert reply.status_code == 200
        os.kill(process.pid, signal.SIGKILL)
    sgp = serve(database=database)
    assert sgp.found() == ["a"]
    sgp.put_ok(started("b"))
    assert [span["id"] for span in sgp.server.spans()] == ["a", "b"]


def test_kill_9_under_load(tmp_path: Path, serve: Callable[..., Sgp]) -> None:
    """Whatever was answered is there, whole, though the process died among many more."""
    database = tmp_path / "spans.sqlite"
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(database)], stdout=subprocess.PIPE, text=True)
    answered: list[set[str]] = []

    def write(writer: int) -> None:
        with httpx.Client(base_url=url, headers={"x-api-key": "key", "x-selected-account-id": "acme"}) as http:
            for number in itertools.count():
                ids = {f"{writer}-{number}-{n}" for n in range(50)}
                http.put("/v5/spans/batch", json={"items": [started(id) for id in ids]}).raise_for_status()
                answered.append(ids)
                if len(answered) == 20:
                    os.kill(process.pid, signal.SIGKILL)

    with process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with ThreadPoolExecutor(4) as pool:
            for writing in [pool.submit(write, writer) for writer in range(4)]:
                assert isinstance(writing.exception(), httpx.TransportError)
    found = set(serve(database=database).found({"limit": 10_000}))
    assert len(answered) >= 20
    assert set().union(*answered) <= found
    assert len(found) % 50 == 0


def test_foreign_database(tmp_path: Path) -> None:
    """A file of another version, or no database at all, is refused at the start."""
    newer, rubbish = tmp_path / "newer.sqlite", tmp_path / "rubbish.sqlite"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    rubbish.write_text("not a database" * 100)
    with pytest.raises(ValueError, match="another version"):
        Sgp(database=newer).server.start()
    with pytest.raises(sqlite3.DatabaseError):
        Sgp(database=rubbish).server.start()


@pytest.mark.parametrize(
    "settings", [{"profile": "new"}, {"auth_status": 400}, {"late_start": ""}, {"max_spans": "many"}]
)
def test_settings_are_checked(settings: dict[str, object]) -> None:
    """A value that is not allowed is named with its field when the server is built."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        Sgp(**settings)
