"""The stub server as the benchmarks use it: started, asked for its URL, and in the end for what it saw."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple


class Sent(NamedTuple):
    """One request as the server saw it; times are monotonic seconds, the same clock in all processes of a machine."""

    arrived: float
    answered: float
    bytes: int
    status: int
    starts: int
    ends: int


class Committed(NamedTuple):
    """When a span's START and END were answered, 0 for never, and how often it was written."""

    start: float
    end: float
    upserts: int

    @property
    def seen(self) -> float:
        """When the span was there first, as a START or, if it ended before that was sent, as its END."""
        return min(self.start or self.end, self.end or self.start)


@dataclass(frozen=True)
class Seen:
    """Everything the server saw. `spans` only if it kept the bodies."""

    requests: list[Sent]
    most_in_flight: int
    spans: dict[int, Committed]
    overlaps: int
    late_starts: int
    cpu_seconds: float

    @property
    def accepted(self) -> list[Sent]:
        return [request for request in self.requests if request.status == 200]

    @property
    def ends(self) -> int:
        return sum(request.ends for request in self.accepted)

    @property
    def starts(self) -> int:
        return sum(request.starts for request in self.accepted)


class Backend:
    """A stub server in its own process. The options are those of `stub_server.py`."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("stub_server.py")), *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{self._process.stdout.readline().strip()}"

    def stop(self) -> Seen:
        """End it, and hear what it saw."""
        told = json.loads(self._process.communicate()[0])
        told["requests"] = [Sent(*request) for request in told["requests"]]
        told["spans"] = {int(number): Committed(*span) for number, span in told["spans"].items()}
        return Seen(**told)

    def __enter__(self) -> "Backend":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
