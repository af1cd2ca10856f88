"""Microseconds to map and to encode one record, by convention: medians over the captured spans of the tests.

`START` and `END` are the whole way from a record to its bytes, `to_item` is the share of the mapping in the END. The
best of several runs in processor time, so that other work on the machine disturbs it little; under 20 s.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from timeit import repeat

from opentelemetry.sdk.trace import TracerProvider

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "mapping"))

from captured import NAMES, load, record

from otel_sgp_exporter._mapping import MappingOptions, TraceMemory, to_item
from otel_sgp_exporter._record import Phase, Record, snapshot
from otel_sgp_exporter._wire import _encode

CALLS, ROUNDS = 5, 12
OPTIONS = MappingOptions()
COLUMNS = ("START us", "END us", "to_item", "START bytes", "END bytes")

Row = tuple[float, float, float, float, float]


def micros(call: Callable[[], object]) -> float:
    return min(repeat(call, number=CALLS, repeat=ROUNDS, timer=process_time)) / CALLS * 1e6


def measure(start: Record, end: Record) -> Row:
    def sealed(phase: Record) -> bytes:
        return _encode(to_item(phase, OPTIONS, memory))

    memory = TraceMemory()
    sizes = len(sealed(start)), len(sealed(end))
    whole = micros(lambda: sealed(end))
    mapping = micros(lambda: to_item(end, OPTIONS, memory))
    return micros(lambda: sealed(start)), whole, mapping / whole, *sizes


def small() -> Row:
    """A span with two attributes, as the saturation benchmark makes them."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("benchmark")
    span = tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat", "number": 1})
    start = snapshot(Phase.START, span)
    span.end()
    end = snapshot(Phase.END, span)
    assert start is not None
    assert end is not None
    return measure(start, end)


def show(name: str, rows: list[Row]) -> None:
    start, end, share, start_bytes, end_bytes = (median(column) for column in zip(*rows, strict=True))
    print(f"{name:24} {len(rows):5} {start:8.1f} {end:8.1f} {share:8.0%} {start_bytes:11.0f} {end_bytes:9.0f}")


def main() -> None:
    logging.disable()  # the edge cases hold overrides of the wrong kind
    print(f"{'convention':24} {'spans':>5} " + " ".join(f"{name:>8}" for name in COLUMNS))
    show("two attributes", [small()])
    rows: dict[str, list[Row]] = {}
    for name in NAMES:
        for entry in load(name):
            row = measure(record(entry, Phase.START), record(entry, Phase.END))
            rows.setdefault(name.partition("__")[0], []).append(row)
    for convention, found in sorted(rows.items()):
        show(convention, found)
    show("all", [row for found in rows.values() for row in found])


if __name__ == "__main__":
    main()
