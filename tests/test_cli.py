"""The command line, as a user runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from otel_sgp_exporter._cli import main

COMMAND = [sys.executable, "-c", "import sys; from otel_sgp_exporter._cli import main; sys.exit(main())"]
SPAN = {"id": "s", "trace_id": "t", "name": "n", "start_timestamp": "2026-11-20T10:00:00Z"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_how_to_point_an_application_at_it(tmp_path: Path, number: signal.Signals) -> None:
    """Three lines of environment that work as printed; a signal ends it well and leaves the database."""
    arguments = ["serve", "--port", "0", "--database", str(tmp_path / "spans.sqlite"), "--api-key", "k"]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(4)]
        variables = dict(line.removeprefix("export ").split("=", 1) for line in lines[1:])
        headers = {
            "x-api-key": variables["OTEL_EXPORTER_SGP_API_KEY"],
            "x-selected-account-id": variables["OTEL_EXPORTER_SGP_ACCOUNT_ID"],
        }
        url = variables["OTEL_EXPORTER_SGP_ENDPOINT"]
        assert url in lines[0]
        assert httpx.put(f"{url}/v5/spans/batch", json={"items": [SPAN]}, headers=headers).status_code == 200
        assert httpx.get(f"{url}/v5/spans/s", headers={**headers, "x-api-key": "other"}).status_code == 401
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    assert (tmp_path / "spans.sqlite").exists()


def test_serve_without_its_dependencies(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The extra to install is named."""
    monkeypatch.setitem(sys.modules, "otel_sgp_exporter.devserver", None)
    assert main(["serve"]) == 2
    assert "pip install 'otel-sgp-exporter[server]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--profile", "new"], "profile must be one of"),
        (["--set", "colour=red"], "no setting is called 'colour'"),
        (["--set", "auth_status=400"], "auth_status must be one of"),
        (["--host", "192.0.2.1"], "192.0.2.1"),
        (["--database", "/no/such/directory/spans.sqlite"], "unable to open database file"),
    ],
)
def test_serve_with_bad_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], named: str) -> None:
    """A sentence that names the culprit, not a traceback."""
    assert main(["serve", "--port", "0", *arguments]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "tail", "check", "replay"])
def test_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Every subcommand is listed, explains itself, and takes no key on the command line but that of a local server."""
    for arguments in (["--help"], [command, "--help"]):
        with pytest.raises(SystemExit) as raised:
            main(arguments)
        assert raised.value.code == 0
        text = capsys.readouterr().out
        assert command in text
    assert ("--api-key" in text) == (command == "serve")


def test_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """What there is, is listed."""
    with pytest.raises(SystemExit) as raised:
        main([])
    assert raised.value.code == 2
    assert "command" in capsys.readouterr().err
