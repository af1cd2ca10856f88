"""The few figures that matter most, ours and everybody else's as a multiple of ours."""

from collections.abc import Mapping
from math import isfinite
from typing import NamedTuple

from drivers import ASYNC, NAIVE, OTLP, OURS, SCALE_GP
from tables import Section, Value, shown, table

PEERS = (OTLP, NAIVE, SCALE_GP, ASYNC)


class Pick(NamedTuple):
    """One column of one workload's table."""

    words: str
    workload: str
    column: str
    ours: str = OURS
    load: str = ""


PICKS = (
    Pick("spans/s, saturated, 150 ms", "saturation", "spans/s", ours="ours, 8 in flight"),
    Pick("ms until a span is seen, p95, 1x", "sustained", "seen p95", load="1x"),
    Pick("ms until a span is seen, p95, 8x", "sustained", "seen p95", load="8x"),
    Pick("ms until its END is there, p95, 8x", "sustained", "END p95", load="8x"),
    Pick("MiB grown by 50 KB prompts", "memory", "grown MiB"),
    Pick("µs added to the caller", "caller", "added, 1 thread"),
    Pick("µs of CPU per span, 1 KB", "process", "1 KB"),
    Pick("µs of CPU per span, 10 KB", "process", "10 KB"),
    Pick("ms timers are late, p99, backlog", "event_loop", "backlog"),
)


def summary(found: Mapping[str, Section]) -> str:
    """By workload's name; what was not measured is left out."""
    rows: list[list[Value]] = []
    for pick in PICKS:
        if pick.workload in found:
            ours = value_of(found[pick.workload], pick, pick.ours)
            theirs = [ratio(value_of(found[pick.workload], pick, name), ours) for name in PEERS]
            rows += [[pick.words, ours, *theirs]] if ours is not None else []
    return table(("", OURS, *PEERS), rows)


def value_of(section: Section, pick: Pick, label: str) -> float | None:
    number = list(section.columns).index(pick.column)
    for row in section.rows:
        if row[0] == label and (not pick.load or row[1] == pick.load):
            value = row[number]
            return value if isinstance(value, (int, float)) else None
    return None


def ratio(theirs: float | None, ours: float | None) -> Value:
    if theirs is None or not ours or not isfinite(theirs):
        return theirs
    return f"{shown(theirs / ours)}x"
