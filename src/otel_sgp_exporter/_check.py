"""`otel-sgp check`: the settings and where they come from, one span there and back, and what is wrong."""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

from ._attach import switched_off
from ._config import EXPORTER_SETTINGS, PROCESSOR_SETTINGS, ExporterConfig, Setting, resolve
from ._delivery import Failed, Returned, Settled, Terms
from ._diagnosis import CheckError, Diagnosis, Exit, of_answer, of_error
from ._exporter import USER_AGENT, SGPSpanExporter
from ._mapping._ids import sgp_span_id, sgp_trace_id
from ._outcome import DELIVERED
from ._record import Phase, Record
from ._surroundings import installed
from ._transport import untraced

_READ_BACK_SECONDS = 5.0  # a write may take a moment to be seen by reads
_PAUSE_SECONDS = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `otel-sgp check`. There is none for the key: a command line can be read by everybody."""
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    parser.epilog = "Exit status: " + ", ".join(f"{status.value} {status.name.lower()}" for status in Exit) + "."


def run(options: argparse.Namespace) -> int:
    """Check as told on the command line, print what was found, and return one of `Exit`."""
    report = check()
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if options.json else "\n".join(_lines(report)) + "\n")
    return int(report["status"])


def check() -> dict[str, Any]:
    """All that there is to know, secrets masked: `status` is one of `Exit`, `verdict` the sentence for it."""
    with _warnings() as warnings, untraced():
        report: dict[str, Any] = {
            "settings": _settings(),
            "warnings": warnings,
            "installed": [package._asdict() for package in installed()],
            "steps": [],
        }
        try:
            off = switched_off()
            if off:
                raise CheckError(Exit.SETTINGS, f"No spans are sent: {off} is set, so unset it.")
            diagnosis = _Check(ExporterConfig.from_env(), report["steps"]).run()
        except ValueError as error:
            diagnosis = Diagnosis(Exit.SETTINGS, f"{error}")
        except CheckError as failure:
            diagnosis = failure.diagnosis
    return {**report, "status": diagnosis.status.value, "verdict": diagnosis.sentence}


class _Check:
    """The steps, each of which raises CheckError or adds a line to `steps`."""

    def __init__(self, config: ExporterConfig, steps: list[str]) -> None:
        self._config = config
        self._steps = steps
        self._key = (random.getrandbits(128) or 1, random.getrandbits(64) or 1)  # ids, not secrets
        self._began_ns = time.time_ns()

    def run(self) -> Diagnosis:
        self._connect()
        exporter = SGPSpanExporter()
        try:
            for phase in (Phase.START, Phase.END):
                self._upsert(exporter, phase)
        finally:
            exporter.shutdown()
        self._read_back()
        return Diagnosis(Exit.OK, f"All is well: the test span is in SGP, in trace {sgp_trace_id(self._key[0])}.")

    def _connect(self) -> None:
        answer = self._get()
        if not answer.is_success and answer.status_code != 404:  # nobody has written it yet
            raise of_answer(answer.status_code, _why(answer))
        self._steps.append(f"{_endpoint(self._config.endpoint)} answers and takes the key")

    def _upsert(self, exporter: SGPSpanExporter, phase: Phase) -> None:
        deadline = exporter.delivery.clock() + self._config.timeout_millis / 1000
        terms = Terms(deadline=lambda: deadline, wait=time.sleep)
        for event in exporter.delivery.deliver([Record(phase, self._key, self._span(phase))], terms):
            if isinstance(event, (Failed, Returned)):
                raise _of_verdict(event.verdict.status, event.verdict.why)
            if isinstance(event, Settled) and event.ending is not DELIVERED:
                raise _of_verdict(_status_in(event.why), event.why)
        self._steps.append(f"{phase.name} of a test span was taken")

    def _span(self, phase: Phase) -> ReadableSpan:
        context = SpanContext(*self._key, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        return ReadableSpan(
            "otel-sgp check",
            context,
            resource=Resource.create(),
            start_time=self._began_ns,
            end_time=time.time_ns() if phase is Phase.END else None,
        )

    def _read_back(self) -> None:
        give_up_at = time.monotonic() + _READ_BACK_SECONDS
        while True:
            answer = self._get()
            if answer.is_success and answer.json().get("end_timestamp"):
                self._steps.append("it was read back, complete")
                return
            if time.monotonic() > give_up_at:
                found = "without its END" if answer.is_success else f"not found ({_why(answer)})"
                raise CheckError(
                    Exit.NOT_READ_BACK,
                    f"The test span was taken, but is {found}: may this key read? Look for trace "
                    f"{sgp_trace_id(self._key[0])}.",
                )
            time.sleep(_PAUSE_SECONDS)

    def _get(self) -> httpx.Response:
        headers = {
            "user-agent": USER_AGENT,
            **self._config.headers,
            "x-api-key": str(self._config.api_key),
            "x-selected-account-id": self._config.account_id,
        }
        url = f"{self._config.endpoint}/v5/spans/{sgp_span_id(*self._key)}"
        try:
            return httpx.get(url, headers=headers, timeout=self._config.timeout_millis / 1000)
        except (httpx.HTTPError, OSError) as error:
            raise of_error(error, self._config.endpoint) from error


def _of_verdict(status: int, why: str) -> CheckError:
    return (
        of_answer(status, why) if status else CheckError(Exit.CONNECTION, f"The test span did not get through: {why}.")
    )


def _status_in(why: str) -> int:
    status = why.removeprefix("HTTP ").partition(" ")[0]
    return int(status) if status.isdigit() else 422


def _why(answer: httpx.Response) -> str:
    where = answer.headers.get("location")
    return f"HTTP {answer.status_code} {where or answer.text.strip()}".rstrip()


def _settings() -> list[dict[str, str]]:
    """Every setting once, its value as it may be shown, and where it comes from."""
    settings = {setting.argument: setting for setting in (*EXPORTER_SETTINGS, *PROCESSOR_SETTINGS)}
    return [
        {"setting": name, "value": _shown(setting, found.value), "source": found.source}
        for name, setting in settings.items()
        for found in [resolve(setting)]
    ]


def _shown(setting: Setting, value: Any) -> str:
    mask: Callable[[Any], str] = _MASKS.get(setting.argument, str)
    if value is None:
        return "off" if setting.argument == "start_delay_millis" else "not set"
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else mask(value)


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


# Not even the end of a key is shown: its length tells a cut or doubled one.
_MASKS: dict[str, Callable[[Any], str]] = {
    "api_key": lambda key: f"({len(key)} characters)",
    "headers": lambda headers: ", ".join(f"{name}=(hidden)" for name in headers) or "none",
    "endpoint": _endpoint,
}


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What our own code would say in the log, meanwhile."""
    said: list[str] = []
    logger = logging.getLogger(__package__)
    handler, logger.propagate, before = _Collecting(said), False, logger.propagate
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


class _Collecting(logging.Handler):
    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() not in self._into:
            self._into.append(record.getMessage())


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield from _columns([(row["setting"], row["value"], row["source"]) for row in report["settings"]])
    yield from (f"! {text}" for text in report["warnings"])
    yield ""
    yield from _columns([(row["name"], row["version"], row["hint"]) for row in report["installed"]])
    yield ""
    yield from (f"+ {step}" for step in report["steps"])
    yield f"{'=' if report['status'] == Exit.OK else '-'} {report['verdict']}"


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    for first, second, third in rows:
        yield f"  {first:{widths[0]}}  {second:{widths[1]}}  {third}".rstrip()
