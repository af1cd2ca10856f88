"""Trouble on request: scripted answers, delays, resets and slow bodies, and how long a PUT takes when all is well."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any

from .fields import BadValue, Parser, boolean, integer, mapping, number, parse_fields, string
from .refusal import Problem, invalid, problem
from .settings import Settings

# The length is ours to say.
_HEADER_NAME = re.compile(r"(?!content-length$|transfer-encoding$)[a-z0-9!#$%&'*+.^_`|~-]+", re.IGNORECASE)
_HEADER_VALUE = re.compile(r"[\x20-\x7e\x80-\xff]*")
# The standard normal's 95th percentile.
_P95_DEVIATIONS = 1.6449


@dataclass(kw_only=True)
class Fault:
    """What happens to the API requests that it matches, each after `delay_millis`.

    Without `status` and `reset` the request is served as usual. With one of them it is not, unless `commit` is set:
    then it is stored and its answer lost.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    reset: bool = False
    commit: bool = False
    delay_millis: float = 0
    drip_millis: float = 0  # the pause between any two pieces of the answer's body

    method: str | None = None
    account: str | None = None
    skip: int = 0  # matching requests to let pass first
    times: int | None = 1  # None: until cleared
    probability: float = 1
    over_rate: float | None = None  # matches only what exceeds so many requests in a second

    _let_through: deque[float] = field(default_factory=deque, init=False, repr=False)

    def as_json(self) -> dict[str, Any]:
        return {given.name: getattr(self, given.name) for given in fields(self) if given.init}

    @property
    def serves(self) -> bool:
        return self.commit or (self.status is None and not self.reset)

    def strikes(self, method: str, account: str, now_seconds: float, random: Random) -> bool:
        """Whether this request is hit, counting it; `now_seconds` is monotonic."""
        if self.times == 0 or self.method not in (None, method) or self.account not in (None, account):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self._within_rate(now_seconds) or random.random() >= self.probability:
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def _within_rate(self, now_seconds: float) -> bool:
        if self.over_rate is None:
            return False
        while self._let_through and self._let_through[0] <= now_seconds - 1:
            self._let_through.popleft()
        if len(self._let_through) >= self.over_rate:
            return False
        self._let_through.append(now_seconds)
        return True


class Faults:
    """The faults in force, the first one that strikes wins; belongs to the event loop's thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._random = Random(settings.seed)  # noqa: S311 - chance, not secrecy
        self.clear()

    def clear(self) -> None:
        """Back to what the settings ask for."""
        rate = self._settings.capacity_per_second
        self.active: list[Fault] = [] if rate is None else [_over_capacity(self._settings, rate)]

    def next(self, method: str, account: str, now_seconds: float) -> Fault | None:
        for fault in self.active:
            if fault.strikes(method, account, now_seconds, self._random):
                return fault
        return None

    def latency_seconds(self, method: str) -> float:
        """How long a request takes in all: lognormal with the p50 and p95 of the settings, for PUTs only."""
        median = self._settings.latency_p50_millis / 1000
        p95 = self._settings.latency_p95_millis
        if method != "PUT" or not median or p95 is None:
            return median if method == "PUT" else 0
        deviation = math.log(p95 / 1000 / median) / _P95_DEVIATIONS
        return self._random.lognormvariate(math.log(median), deviation)


def _headers(value: Any) -> dict[str, str]:
    headers = {name: str(header) for name, header in mapping(value).items()}
    for name, header in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(header):
            raise BadValue("header", f"{name!r} is no header that HTTP can carry")
    return headers


_FIELDS: dict[str, Parser] = {
    "status": integer(200, 599),
    "headers": _headers,
    "body": lambda value: value,
    "reset": boolean,
    "commit": boolean,
    "delay_millis": number,
    "drip_millis": number,
    "method": string,
    "account": string,
    "skip": integer(0, 1 << 53),
    "times": integer(0, 1 << 53),
    "probability": number,
    "over_rate": number,
}


def parse_fault(given: Any) -> Fault:
    """A fault from the control path's JSON; refused with 422 when a field is unknown or not what it should be."""
    problems: list[Problem] = []
    parsed = parse_fields(_FIELDS, given, ("body",), problems)
    unknown = [] if problems else given.keys() - _FIELDS.keys()
    problems += (problem("extra_forbidden", ("body", name), "Faults have no such field", None) for name in unknown)
    if problems:
        raise invalid(problems)
    fault = Fault(**{name: value for name, value in parsed.items() if value is not None})
    fault.times = given.get("times", fault.times)  # null means something here
    return fault


def _over_capacity(settings: Settings, rate: float) -> Fault:
    headers = {} if settings.retry_after_seconds is None else {"retry-after": str(settings.retry_after_seconds)}
    body = {"detail": "Over capacity"}
    return Fault(status=settings.over_capacity, headers=headers, body=body, method="PUT", times=None, over_rate=rate)
