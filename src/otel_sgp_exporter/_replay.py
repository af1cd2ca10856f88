"""`otel-sgp replay`: delivers what a spool holds, oldest first, and says how far it is."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TextIO

from ._config import PROCESSOR_SETTINGS, resolve
from ._delivery import Returned, Settled, Terms
from ._exporter import SGPSpanExporter
from ._outcome import Outcome
from ._record import Record
from ._rescue import SENDING_SECONDS, deliver_spooled
from ._spool import Spool
from ._transport import untraced

_SPOOL = next(setting for setting in PROCESSOR_SETTINGS if setting.argument == "spool")
_BATCH_RECORDS = 200
_BAR_WIDTH = 40
_ELSEWHERE = "another process is sending them, or has been, less than a minute ago"


class ReplayResult(NamedTuple):
    """What became of the spans in a spool.

    Attributes:
        delivered: Spans that the server took.
        refused: Spans that it never will; they are in the spool's table `refused`.
        left: Spans still in the spool, those included that another process is sending.
        elsewhere: Spans for other endpoints and accounts, by these.
        why: What ended the replay early, or what the spool could not do; empty when all went well.
    """

    delivered: int
    refused: int
    left: int
    elsewhere: dict[str, int]
    why: str


def replay(
    directory: str | os.PathLike[str],
    exporter: SGPSpanExporter,
    *,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
    clock: Callable[[], float] = time.time,
) -> ReplayResult:
    """Deliver what `directory` holds for the endpoint and account of `exporter`.

    Gives up when nothing was delivered for as long as one export may take. Any number of processes may replay at once.

    Args:
        directory: The spool.
        exporter: Delivers.
        on_progress: Told after each batch how many spans are settled, and of how many.
        clock: Wall-clock seconds, for the leases.
    """
    config = exporter.config
    spool = Spool(
        directory,
        endpoint=config.endpoint,
        account_id=config.account_id,
        max_age_seconds=float("inf"),  # who asks for a replay wants everything
        clock=clock,
    )
    with untraced():
        return _Replay(spool, exporter, config.export_timeout_millis / 1000).run(on_progress)


class _Replay:
    def __init__(self, spool: Spool, exporter: SGPSpanExporter, patience_seconds: float) -> None:
        self._spool = spool
        self._delivery = exporter.delivery
        self._patience_seconds = patience_seconds
        self._delivered = self._refused = 0
        self._why = ""
        self._be_patient()

    def run(self, on_progress: Callable[[int, int], object]) -> ReplayResult:
        total = self._spool.counts().get(self._spool.destination, 0)
        while batch := self._spool.claim(_BATCH_RECORDS, self._delivery.max_request_bytes):
            pause_seconds = self._send(batch)
            on_progress(self._delivered + self._refused, total)
            if self._delivery.clock() + pause_seconds >= self._give_up_at:
                break
            time.sleep(pause_seconds)
            self._why = ""
        elsewhere = dict(self._spool.counts())
        left = elsewhere.pop(self._spool.destination, 0)
        return ReplayResult(self._delivered, self._refused, left, elsewhere, self._why or self._spool.trouble)

    def _be_patient(self) -> None:
        self._give_up_at = self._delivery.clock() + self._patience_seconds

    def _send(self, batch: Sequence[Record]) -> float:
        """Deliver claimed spans. Returns how long to wait before the next."""
        deadline = min(self._give_up_at, self._delivery.clock() + SENDING_SECONDS)
        pause_seconds = 0.0
        for event in deliver_spooled(self._delivery, self._spool, batch, Terms(lambda: deadline, time.sleep)):
            if isinstance(event, Returned):
                self._why, pause_seconds = event.verdict.why, event.verdict.silence_seconds
            elif isinstance(event, Settled) and event.ending.outcome is Outcome.DELIVERED:
                self._delivered += len(event.records)
                self._be_patient()
            elif isinstance(event, Settled) and event.ending.outcome is Outcome.REJECTED:
                self._refused += len(event.records)
            elif isinstance(event, Settled):
                self._why, pause_seconds = event.why, float("inf")
        return pause_seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `otel-sgp replay`."""
    parser.add_argument("--spool-dir", metavar="DIR", help="the spool (default: OTEL_EXPORTER_SGP_SPOOL_DIR)")
    parser.add_argument("--endpoint", metavar="URL", help="base URL of the SGP API (default: as the exporter's)")
    parser.add_argument("--account-id", metavar="ID", help="whose spans to deliver (default: as the exporter's)")


def run(options: argparse.Namespace) -> int:
    """Replay as told on the command line. Returns 0 when all is delivered, 1 when something is left, 2 for wrong usage.

    The API key comes from the environment only: a command line can be read by every user of the machine.
    """
    directory = resolve(_SPOOL, options.spool_dir).value
    try:
        if directory is None:
            raise ValueError("--spool-dir or OTEL_EXPORTER_SGP_SPOOL_DIR has to name the spool.")
        if not os.path.isdir(directory):
            raise ValueError(f"{directory} is no directory.")
        exporter = SGPSpanExporter(endpoint=options.endpoint, account_id=options.account_id)
    except ValueError as error:
        sys.stderr.write(f"otel-sgp: {error}\n")
        return 2
    progress = _Progress(sys.stdout)
    try:
        result = replay(directory, exporter, on_progress=progress)
    except KeyboardInterrupt:
        progress.say("Interrupted. What was not delivered is still in the spool.")
        return 1
    finally:
        exporter.shutdown()
    for line in _summary(result):
        progress.say(line)
    return 1 if result.left or result.refused or result.why else 0


def _summary(result: ReplayResult) -> list[str]:
    lines = [f"{_spans(result.delivered)} delivered."]
    if result.refused:
        lines.append(f"{_spans(result.refused)} refused by SGP, now in the spool's table `refused`.")
    if result.left:
        lines.append(f"{_spans(result.left)} left: {result.why or _ELSEWHERE}.")
    elif result.why:
        lines.append(f"There may be more: {result.why}.")
    return lines + [f"{_spans(count)} for {destination}." for destination, count in result.elsewhere.items()]


def _spans(count: int) -> str:
    return "1 span" if count == 1 else f"{count:,} spans"


class _Progress:
    """A bar on a terminal; elsewhere a line for each tenth."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._tenths = 0
        self._bar = ""

    def __call__(self, done: int, total: int) -> None:
        share = min(done / total, 1) if total else 1.0
        if self._out.isatty():
            self._bar = f"{'#' * int(share * _BAR_WIDTH):.<{_BAR_WIDTH}} {done:,} of {_spans(total)}"
            self._out.write(f"\r{self._bar}")
        elif int(share * 10) > self._tenths:
            self._tenths = int(share * 10)
            self._out.write(f"{done:,} of {_spans(total)}\n")
        self._out.flush()

    def say(self, line: str) -> None:
        """A line of its own."""
        self._out.write(f"\n{line}\n" if self._bar else f"{line}\n")
        self._bar = ""
