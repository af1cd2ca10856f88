"""One test span there and back: whether SGP can be reached, takes the key, takes a START and an END, and shows them."""

from __future__ import annotations

import random
import time
from typing import Any

import httpx
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

from .._config import ExporterConfig
from .._delivery import Failed, Returned, Settled, Terms
from .._exporter import USER_AGENT, SGPSpanExporter
from .._mapping._ids import sgp_span_id, sgp_trace_id
from .._outcome import DELIVERED
from .._record import END, START, Phase, Record
from ._diagnosis import CheckError, Diagnosis, Exit, of_answer, of_error, of_stranger
from ._report import without_password

_READ_BACK_SECONDS = 5.0  # a write may take a moment to be seen by reads
_PAUSE_SECONDS = 0.25


class RoundTrip:
    """The steps, each of which raises CheckError or adds a line to `steps`."""

    def __init__(self, config: ExporterConfig, steps: list[str]) -> None:
        self._config = config
        self._steps = steps
        self._key = (random.getrandbits(128) or 1, random.getrandbits(64) or 1)  # ids, not secrets
        self._began_ns = time.time_ns()

    def run(self) -> Diagnosis:
        """All steps. Raises CheckError."""
        self._connect()
        exporter = SGPSpanExporter()
        try:
            for phase in (START, END):
                self._upsert(exporter, phase)
        finally:
            exporter.shutdown()
        self._read_back()
        return Diagnosis(Exit.OK, f"All is well: the test span is in SGP, in trace {sgp_trace_id(self._key[0])}.")

    def _connect(self) -> None:
        answer = self._get()
        if answer.is_success:  # for a span that nobody has written yet
            raise of_stranger(_why(answer))
        if answer.status_code != 404:
            raise of_answer(answer.status_code, _why(answer))
        self._steps.append(f"{without_password(self._config.endpoint)} answers and takes the key")

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
            end_time=time.time_ns() if phase is END else None,
        )

    def _read_back(self) -> None:
        give_up_at = time.monotonic() + _READ_BACK_SECONDS
        while True:
            answer = self._get()
            if answer.is_success and _item(answer).get("end_timestamp"):
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
        except Exception as error:  # not all are httpx.HTTPError: a proxy of an unknown kind, a port that is none
            raise of_error(error, self._config.endpoint) from error


def _item(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        raise of_stranger(_why(answer)) from None
    if not isinstance(found, dict):
        raise of_stranger(_why(answer))
    return found


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
