"""The `otel-sgp` command: one function per subcommand, which imports what it needs when it runs."""

from __future__ import annotations

import argparse
import signal
import sqlite3
import sys
import threading
from collections.abc import Sequence

_DEFAULT_PORT = 5003
# What the application must send when the server accepts anything.
_ANY_API_KEY = "local"
_ANY_ACCOUNT = "local"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status of the process."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="otel-sgp", description="Tools around otel-sgp-exporter.")
    subcommands = parser.add_subparsers(required=True, metavar="command")
    for name, (summary, complete) in _SUBCOMMANDS.items():
        subcommand = subcommands.add_parser(name, help=summary)
        if given[:1] == [name]:  # the others are not asked for their arguments: each imports what it needs
            complete(subcommand)
    options = parser.parse_args(given)
    status: int = options.run(options)
    return status


def _complete_check(parser: argparse.ArgumentParser) -> None:
    from ._check import add_arguments, run

    add_arguments(parser)
    parser.set_defaults(run=run)


def _complete_replay(parser: argparse.ArgumentParser) -> None:
    from ._replay import add_arguments, run

    add_arguments(parser)
    parser.set_defaults(run=run)


def _complete_tail(parser: argparse.ArgumentParser) -> None:
    from ._tail import add_arguments, run

    add_arguments(parser)
    parser.set_defaults(run=run)


def _complete_gateway(parser: argparse.ArgumentParser) -> None:
    from .gateway.settings import add_arguments

    add_arguments(parser)
    parser.set_defaults(run=_gateway)


def _gateway(options: argparse.Namespace) -> int:
    try:
        from .gateway.serve import run
    except ModuleNotFoundError as error:
        return _fail(f"{error}: install the gateway with `pip install 'otel-sgp-exporter[gateway]'`")
    return run(options)


def _complete_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=_DEFAULT_PORT, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--database", metavar="FILE", help="keep the spans there (default: forget them at exit)")
    parser.add_argument("--profile", default="tracing-pg", help="which service to imitate (default: %(default)s)")
    parser.add_argument("--api-key", metavar="KEY", help="accept no other key")
    parser.add_argument("--account-id", metavar="ID", help="accept no other account")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="any other setting; a wrong name lists them",
    )
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    try:
        from .devserver import DevServer, parse_setting
    except ModuleNotFoundError as error:
        return _fail(f"{error}: install the server with `pip install 'otel-sgp-exporter[server]'`")
    try:
        settings = dict(map(parse_setting, options.settings))
        settings |= {"profile": options.profile, "api_key": options.api_key, "account_id": options.account_id}
        server = DevServer(options.database, host=options.host, port=options.port, **settings)
        server.start()
    except (ValueError, OSError, sqlite3.Error) as error:
        return _fail(str(error))
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    print(f"Local SGP: open {server.url} to see traces, Ctrl-C stops it. Point an application at it with", flush=True)
    print(f"export OTEL_EXPORTER_SGP_ENDPOINT={server.url}")
    print(f"export OTEL_EXPORTER_SGP_API_KEY={options.api_key or _ANY_API_KEY}")
    print(f"export OTEL_EXPORTER_SGP_ACCOUNT_ID={options.account_id or _ANY_ACCOUNT}", flush=True)
    stopped.wait()
    server.stop()
    return 0


_SUBCOMMANDS = {
    "serve": ("run a local SGP: the span API on SQLite, and a page that shows traces live", _complete_serve),
    "tail": ("show traces in the terminal while they run", _complete_tail),
    "gateway": ("receive OTLP, over HTTP or from Kafka, and deliver it to SGP", _complete_gateway),
    "check": ("send one span there and back, and say what is wrong", _complete_check),
    "replay": ("deliver what a spool holds", _complete_replay),
}


def _fail(message: str) -> int:
    print(f"otel-sgp: {message}", file=sys.stderr)
    return 2
