"""What the stub server remembers of requests, and what it makes of that in the end."""

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

# Every benchmark span has a number in its name, of fixed width since in protobuf other fields follow without a gap.
NAMED = re.compile(rb"span-(\d{7})")
NAME = "span-%07d"
_ITEM, _ENDED = b'"start_timestamp":"', b'"end_timestamp":"'


class Request:
    """One request: when it was here, when it was answered, and how many STARTs and ENDs were in it.

    Counted by their marks in the bytes, so that a large body costs no more than a look; `keep` puts the body aside.
    """

    __slots__ = ("answered", "arrived", "body", "ends", "is_otlp", "size", "starts", "status")

    def __init__(self, is_otlp: bool, body: memoryview, *, keep: bool) -> None:
        self.arrived = time.monotonic()
        self.answered = 0.0
        self.status = 200
        self.is_otlp = is_otlp
        self.size = len(body)
        self.body = bytes(body)
        items = self.body.count(b"span-" if is_otlp else _ITEM)
        self.ends = items if is_otlp else self.body.count(_ENDED)
        self.starts = items - self.ends
        if not keep:
            self.body = b""

    def writes(self) -> Iterator[tuple[int, bool]]:
        """(number of the span, whether it is an END) for each item of a kept body."""
        if self.is_otlp:
            yield from ((int(number), True) for number in NAMED.findall(self.body))
        elif self.body:
            for item in orjson.loads(self.body)["items"]:
                if found := NAMED.fullmatch(item["name"].encode()):
                    yield int(found[1]), item.get("end_timestamp") is not None


class Span:
    """What became of one span at the server, in monotonic seconds."""

    __slots__ = ("end_arrived", "end_committed", "start_committed", "upserts")

    def __init__(self) -> None:
        self.start_committed = self.end_committed = self.end_arrived = 0.0
        self.upserts = 0


def report(requests: list[Request]) -> dict[str, Any]:
    """As JSON: requests, the most at once, spans by number, and how often the order of a span's two was wrong.

    `overlaps`: a START was not answered yet when the END came, in another request. `late_starts`: it was even answered
    after it, so that the row was open again.
    """
    accepted = [request for request in requests if request.status == 200 and request.answered]
    spans, overlaps, late_starts = _by_span(accepted)
    return {
        "requests": [[r.arrived, r.answered, r.size, r.status, r.starts, r.ends] for r in requests],
        "most_in_flight": _most_in_flight(requests),
        "spans": {number: [s.start_committed, s.end_committed, s.upserts] for number, s in spans.items()},
        "overlaps": overlaps,
        "late_starts": late_starts,
        "cpu_seconds": time.process_time(),
    }


def _by_span(accepted: list[Request]) -> tuple[dict[int, Span], int, int]:
    spans: dict[int, Span] = {}
    starts: list[tuple[int, Request]] = []
    ends_with: dict[int, Request] = {}
    for request in sorted(accepted, key=lambda request: request.answered):
        for number, is_end in request.writes():
            span = spans.setdefault(number, Span())
            span.upserts += 1
            if is_end:
                span.end_committed = span.end_committed or request.answered
                ends_with.setdefault(number, request)
            else:
                span.start_committed = span.start_committed or request.answered
                starts.append((number, request))
    pairs = [(start, ends_with[number]) for number, start in starts if number in ends_with]
    apart = [(start, end) for start, end in pairs if start is not end]
    overlaps = sum(start.answered > end.arrived for start, end in apart)
    return spans, overlaps, sum(start.answered > end.answered for start, end in apart)


def _most_in_flight(requests: Iterable[Request]) -> int:
    most = now = 0
    changes = ((at, change) for r in requests for at, change in ((r.arrived, 1), (r.answered or 1e18, -1)))
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most
