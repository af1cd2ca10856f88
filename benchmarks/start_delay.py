"""What each choice of `start_delay_millis` costs the backend, and how much of a running span a person sees for it."""

import heapq
import time
from typing import Any

from contenders import ours
from drivers import prompt
from harness import Figures, against, alone, at_once, percentile
from plots import Plot
from sizes import Sizes
from tables import Section

SPANS_PER_SECOND = 40
PROMPT_BYTES = 10_000
SHORT, MIDDLE, LONG = 0.05, 0.6, 2.0  # seconds: tools and HTTP calls, small models, large models and agents
LASTS = (SHORT, SHORT, SHORT, SHORT, SHORT, MIDDLE, MIDDLE, MIDDLE, LONG, LONG)


def produce(url: str, delay: str | int, seconds: float) -> list[tuple[float, float]]:
    """When each span was started and ended."""
    driver = ours(start_delay_millis=delay).make(url)
    times: list[tuple[float, float]] = []
    steps: list[tuple[float, int, Any]] = []
    count = int(seconds * SPANS_PER_SECOND)
    began = time.monotonic() + 0.1
    for number in range(count):
        heapq.heappush(steps, (began + number / SPANS_PER_SECOND, number, None))
    while steps:
        at, number, span = heapq.heappop(steps)
        time.sleep(max(0.0, at - time.monotonic()))
        if span is None:
            span = driver.start(number, prompt(number, PROMPT_BYTES))
            times.append((time.monotonic(), 0.0))
            heapq.heappush(steps, (at + LASTS[number % len(LASTS)], number, span))
        else:
            driver.end(span)
            times[number] = (times[number][0], time.monotonic())
    driver.stop(30)
    return times


def measure(delay: str | int, sizes: Sizes) -> Figures:
    options = ("--latency", "fixed:150", "--keep-bodies")
    times, seen = against(options, produce, delay, sizes.delay_seconds)
    spans = [(seen.spans[number], began, ended) for number, (began, ended) in enumerate(times)]
    lags = [span.start - began for span, began, _ in spans if span.start]
    shown = sum(max(0.0, ended - span.seen) for span, _, ended in spans)
    return {
        "upserts": sum(span.upserts for span, _, _ in spans) / len(spans),
        "KB": sum(request.bytes for request in seen.requests) / len(spans) / 1000,
        "requests": len(seen.requests) / len(spans),
        "STARTs": seen.starts / len(spans),
        "lag p50": percentile(lags, 0.5) * 1000,
        "lag p95": percentile(lags, 0.95) * 1000,
        "shown": shown / sum(ended - began for _, began, ended in spans),
        "overlaps": seen.overlaps,
    }


def run(sizes: Sizes) -> Section:
    found = at_once(sizes.delays, lambda delay: measure(delay, sizes))
    rows = [
        (
            str(delay),
            f["upserts"],
            f["KB"],
            f"{f['STARTs']:.0%}",
            f["lag p50"],
            f["lag p95"],
            f"{f['shown']:.0%}",
            f["overlaps"],
        )
        for delay, f in found.items()
    ]
    return Section(
        "The START delay",
        f"{SPANS_PER_SECOND} spans a second for {sizes.delay_seconds:g} s with 10 KB prompts, 150 ms per request: "
        f"half last {SHORT * 1000:g} ms, three in ten {MIDDLE * 1000:g} ms, two in ten {LONG:g} s. *Seen after*: "
        "ms from the start of a span to its START at the server, of those that had one. *Running and shown*: "
        "share of the time in which spans ran that they could be seen.",
        (
            "delay ms",
            "upserts/span",
            "KB/span",
            "STARTs sent",
            "seen after p50",
            "p95",
            "running and shown",
            "overlaps",
        ),
        rows,
        {
            "start_delay": Plot(
                "What a START delay costs the backend",
                "KB per span",
                {"": [f["KB"] for f in found.values()]},
                [str(delay) for delay in found],
            )
        },
    )


if __name__ == "__main__":
    alone(run)
