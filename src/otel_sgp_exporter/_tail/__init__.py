"""`otel-sgp tail`: the traces of an account as trees, in the terminal, while they run. Reads SGP like any client."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import NoReturn
from urllib.parse import urlsplit

import httpx

from .._config import EXPORTER_SETTINGS, ExporterConfig, resolve
from .._transport import untraced
from ._views import Log, Screen, View
from ._watch import Refused, Watch

_LOCAL_URL = "http://127.0.0.1:5003"
_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
_PAUSE_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `otel-sgp tail`. There is none for the key: a command line can be read by everybody."""
    parser.add_argument(
        "--endpoint",
        metavar="URL",
        help=f"base URL of the SGP API (default: as the exporter's, without a key {_LOCAL_URL})",
    )
    parser.add_argument("--account-id", metavar="ID", help="whose spans to show (default: as the exporter's)")
    parser.add_argument(
        "--since", type=float, default=60, metavar="SECONDS", help="begin so long ago (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Show traces until Ctrl-C. Returns 2 when the settings are wrong or the server refuses them."""
    try:
        config = _config(options.endpoint, options.account_id)
    except ValueError as error:
        return _fail(str(error))
    key = config.api_key() if callable(config.api_key) else config.api_key
    headers = {**config.headers, "x-api-key": key, "x-selected-account-id": config.account_id}
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # not every log is UTF-8
    view: View = Screen(sys.stdout) if sys.stdout.isatty() else Log(sys.stdout)
    since = datetime.now(timezone.utc) - timedelta(seconds=options.since)
    with (
        untraced(),
        httpx.Client(base_url=config.endpoint, headers=headers, timeout=config.timeout_millis / 1000) as client,
    ):
        try:
            _follow(Watch(client, since), view, config.endpoint)
        except Refused as refused:
            return _fail(str(refused))
        except KeyboardInterrupt:
            return 0


def _follow(watch: Watch, view: View, endpoint: str) -> NoReturn:
    trouble = ""
    while True:
        try:
            view.show(*watch.poll(time.monotonic()))
            trouble = ""
        except httpx.HTTPError as error:
            if str(error) != trouble:
                trouble = str(error)
                sys.stderr.write(f"otel-sgp: {endpoint}: {trouble or type(error).__name__}; trying again\n")
        time.sleep(_PAUSE_SECONDS)


def _config(endpoint: str | None, account_id: str | None) -> ExporterConfig:
    """As the exporter's; a server on this machine takes any key and account unless it was told which."""
    settings = {setting.argument: setting for setting in EXPORTER_SETTINGS}
    found = {
        name: resolve(settings[name], value)
        for name, value in (("endpoint", endpoint), ("api_key", None), ("account_id", account_id))
    }
    values = {name: setting.value for name, setting in found.items()}
    if found["endpoint"].source == "default" and values["api_key"] is None:
        values["endpoint"] = _LOCAL_URL
    if urlsplit(values["endpoint"]).hostname in _LOCAL_NAMES:
        values = {name: value or "local" for name, value in values.items()}
    return ExporterConfig.from_env(**values)


def _fail(message: str) -> int:
    sys.stderr.write(f"otel-sgp: {message}\n")
    return 2
