"""What the gateway counts, and how Prometheus reads it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

Labels: TypeAlias = tuple[tuple[str, str], ...]

_MEANINGS = {
    "requests": ("counter", "OTLP requests answered, by HTTP status."),
    "bytes": ("counter", "Bytes of bodies, unpacked."),
    "spans": ("counter", "Spans taken over."),
    "spans_rejected": ("counter", "Spans refused for good, and named in the answer."),
    "puts": ("counter", "Requests to SGP, by HTTP status; none where there was no answer."),
    "put_seconds": ("counter", "Time that they took, together."),
    "messages": ("counter", "Kafka messages that have come to their end, by what that was."),
    "kafka_lag": ("gauge", "Messages of a partition that are not committed."),
    "kafka_partitions": ("gauge", "Partitions that this member has."),
    "cpu_seconds": ("counter", "CPU time of the process."),
    "reading_bytes": ("gauge", "Memory of the bodies that are being read."),
    "records": ("counter", "Records that have ended, by outcome."),
    "records_pending": ("gauge", "Records held."),
    "records_in_flight": ("gauge", "Records in requests to SGP at this moment."),
    "held_bytes": ("gauge", "Memory of the records held."),
    "blocked": ("gauge", "1 for each key while SGP refuses it or its account, or is not at its address."),
}


class Counts:
    """Counters and gauges with labels. Any thread may count."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._lock = threading.Lock()

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        """Count up."""
        with self._lock:
            self._values[name][tuple(labels.items())] += value

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._values[name][tuple(labels.items())] = value

    def forget(self, name: str) -> None:
        """Of a gauge whose labels have changed: all of its values."""
        with self._lock:
            self._values.pop(name, None)

    def get(self, name: str, **labels: str) -> float:
        """The value at this moment."""
        with self._lock:
            return self._values[name][tuple(labels.items())]

    def read(self) -> dict[str, dict[Labels, float]]:
        """A copy of all values."""
        with self._lock:
            return {name: dict(values) for name, values in self._values.items()}


def exposition(values: Mapping[str, Mapping[Labels, float]]) -> str:
    """The values as Prometheus reads them."""
    return "".join(f"{line}\n" for line in _lines(values))


def _lines(values: Mapping[str, Mapping[Labels, float]]) -> Iterator[str]:
    for name, (kind, meaning) in _MEANINGS.items():
        if name in values:
            full = f"sgp_gateway_{name}{'_total' if kind == 'counter' else ''}"
            yield f"# HELP {full} {meaning}"
            yield f"# TYPE {full} {kind}"
            for labels, value in values[name].items():
                yield f"{full}{_labels(labels)} {value:.17g}"


def _labels(labels: Iterable[tuple[str, str]]) -> str:
    text = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{text}}}" if text else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
