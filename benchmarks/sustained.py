"""How late a person sees a span under a steady load: a service with 42 requests of 4 spans a second, times N."""

import time
from math import inf
from typing import Any, NamedTuple

from backend import Committed
from contenders import Contender, everybody
from drivers import OURS, prompt
from harness import Figures, against, alone, percentile, repeated
from plots import Plot
from sizes import Sizes
from tables import Section, Value

REQUESTS_PER_SECOND = 42
PROMPT_BYTES = 1_000
FIXED, SPREAD = "fixed:150", "lognormal:150:330"
# A request: seconds after its beginning, which of its spans, whether that starts. Span 0 is the parent of the others.
STEPS = (
    (0.0, 0, True),
    (0.0, 1, True),
    (0.1, 1, False),
    (0.1, 2, True),
    (0.3, 2, False),
    (0.3, 3, True),
    (0.4, 3, False),
    (0.4, 0, False),
)
SPANS = 4


class Scenario(NamedTuple):
    contender: Contender
    load: int
    latency: str


class Made(NamedTuple):
    """When each span was started and ended by the application, and by how much the last step was behind its time."""

    started: list[float]
    ended: list[float]
    done: float
    behind: float
    pending: int


def produce(url: str, contender: Contender, load: int, seconds: float, drain_seconds: float) -> Made:
    driver = contender.make(url)
    rate = REQUESTS_PER_SECOND * load
    steps = [
        (request / rate + after, SPANS * request + index, starts)
        for request in range(int(seconds * rate))
        for after, index, starts in STEPS
    ]
    started, ended = ([0.0] * (len(steps) // 2) for _ in range(2))
    spans: dict[int, Any] = {}
    began = time.monotonic() + 0.05
    for at, number, starts in sorted(steps, key=lambda step: step[0]):
        while (left := began + at - time.monotonic()) > 0:
            time.sleep(left)
        if starts:
            started[number] = time.monotonic()
            parent = spans.get(number - number % SPANS) if number % SPANS else None
            spans[number] = driver.start(number, prompt(number, PROMPT_BYTES), parent)
        else:
            ended[number] = time.monotonic()
            driver.end(spans[number] if number % SPANS == 0 else spans.pop(number))
    done, pending = time.monotonic(), driver.pending()
    driver.stop(drain_seconds)
    return Made(started, ended, done, -left, pending)


def measure(scenario: Scenario, sizes: Sizes) -> Figures:
    contender, load, latency = scenario
    drain = 10 if contender.driver == OURS else sizes.peer_seconds
    options = ("--latency", latency, "--keep-bodies")
    made, seen = against(options, produce, contender, load, sizes.sustained_seconds, drain)
    committed = [seen.spans.get(number, Committed(0, 0, 0)) for number in range(len(made.ended))]
    ends = [span.end - at if span.end else inf for span, at in zip(committed, made.ended, strict=True)]
    seen_after = [span.seen - at if span.seen else inf for span, at in zip(committed, made.started, strict=True)]
    late = sum(not span.end or span.end > made.done + 1 for span in committed)
    return {
        **{f"seen {share}": percentile(seen_after, share) for share in (0.5, 0.95)},
        **{f"END {share}": percentile(ends, share) for share in (0.5, 0.95, 0.99)},
        "backlog": late,
        "lost": ends.count(inf),
        "behind": made.behind,
        "overlaps": seen.overlaps,
    }


def scenarios(sizes: Sizes) -> list[Scenario]:
    heaviest = sizes.sustained_loads[-1]
    steady = [Scenario(contender, load, FIXED) for load in sizes.sustained_loads for contender in everybody(sizes)]
    return steady + [Scenario(contender, heaviest, SPREAD) for contender in everybody(sizes)[:1]]


def row(scenario: Scenario, f: Figures) -> tuple[Value, ...]:
    load = f"{scenario.load}x" if scenario.latency == FIXED else f"{scenario.load}x, spread"
    lags = (f[name] * 1000 for name in ("seen 0.5", "seen 0.95", "END 0.5", "END 0.95", "END 0.99"))
    return (scenario.contender.label, load, *lags, f["backlog"], f["lost"], f["overlaps"])


def run(sizes: Sizes) -> Section:
    found = repeated(scenarios(sizes), 1, lambda scenario: measure(scenario, sizes))
    labels = [contender.label for contender in everybody(sizes)]
    lags = {
        f"{load}x": [found[Scenario(contender, load, FIXED)]["END 0.95"] * 1000 for contender in everybody(sizes)]
        for load in sizes.sustained_loads
    }
    return Section(
        "Sustained load",
        f"{REQUESTS_PER_SECOND} requests of {SPANS} spans a second (1x), for {sizes.sustained_seconds:g} s, 1 KB "
        "prompts, 150 ms per request; *spread*: lognormal, p50 150 ms, p95 330 ms. Lags in ms, from the "
        "application's call to the server's answer; spans that were lost count as never. *Seen*: there at all, as "
        "a START or else with its END. *Backlog*: ENDs not there 1 s after the load ended.",
        ("", "load", "seen p50", "seen p95", "END p50", "END p95", "END p99", "backlog", "lost", "overlaps"),
        [row(scenario, f) for scenario, f in found.items()],
        {"sustained": Plot("From the end of a span to its END at the server, p95", "ms", lags, labels)},
    )


if __name__ == "__main__":
    alone(run)
