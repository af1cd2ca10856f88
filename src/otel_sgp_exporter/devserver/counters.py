"""What arrived, counted since the server started."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

_COUNT = re.compile("[0-9]{1,3}")  # whatever else a client sends must not fill the memory


@dataclass
class Counters:
    """Written by the event loop's thread only, batch sizes by the writing one."""

    requests: Counter[str] = field(default_factory=Counter)  # by method and path
    statuses: Counter[int] = field(default_factory=Counter)  # 0: the connection was reset instead
    retry_counts: Counter[str] = field(default_factory=Counter)  # by the official client's header
    batch_sizes: Counter[int] = field(default_factory=Counter)  # of every batch that was JSON
    request_bytes: int = 0
    puts_in_flight: int = 0
    most_puts_in_flight: int = 0

    def begin(self, request: Request, path: str) -> None:
        self.requests[f"{request.method} {path}"] += 1
        retries = request.headers.get("x-stainless-retry-count", "none")
        self.retry_counts[retries if retries == "none" or _COUNT.fullmatch(retries) else "other"] += 1
        self.puts_in_flight += request.method == "PUT"
        self.most_puts_in_flight = max(self.most_puts_in_flight, self.puts_in_flight)

    def end(self, request: Request) -> None:
        self.puts_in_flight -= request.method == "PUT"

    def clear(self) -> None:
        vars(self).update(vars(Counters(puts_in_flight=self.puts_in_flight)))

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests.total(),
            "requests_by_path": dict(self.requests),
            "statuses": dict(sorted(self.statuses.items())),
            "retry_counts": dict(sorted(self.retry_counts.items())),
            "items": sum(size * times for size, times in self.batch_sizes.items()),
            "batch_sizes": dict(sorted(self.batch_sizes.items())),
            "bytes": self.request_bytes,
            "puts_in_flight": self.puts_in_flight,
            "most_puts_in_flight": self.most_puts_in_flight,
        }
