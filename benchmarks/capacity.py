"""What a fixed and an adapted number of requests in flight do to a backend that can serve four at a time."""

import time

from contenders import ours
from harness import Figures, against, alone, percentile, repeated
from sizes import Sizes
from tables import Section, Value

CAPACITY = 4
LATENCY_MILLIS = 150
SPANS_PER_SECOND = 4_000  # twice what it can serve, in batches of 200 and both upserts


def produce(url: str, in_flight: int, adapts: bool, seconds: float) -> tuple[float, int, int]:
    """When the load was over, the spans made, and those of them that were lost by then or in the time after."""
    driver = ours(max_concurrent_exports=in_flight, max_queue_size=100_000).make(url)
    if not adapts:
        driver.processor._pipeline._state.window.narrow = lambda now: None  # type: ignore[attr-defined]
    began, number = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        while number < elapsed * SPANS_PER_SECOND:
            driver.end(driver.start(number))
            number += 1
        time.sleep(0.005)
    done = time.monotonic()
    driver.stop(seconds)
    return done, number, number - driver.processor.stats().spans_delivered  # type: ignore[attr-defined]


def measure(mode: str, in_flight: int, adapts: bool, seconds: float) -> Figures:
    options = ("--latency", f"fixed:{LATENCY_MILLIS}", "--capacity", str(CAPACITY), "--over", mode)
    (done, made, lost), seen = against(options, produce, in_flight, adapts, seconds)
    answered = [request for request in seen.accepted if request.answered and request.answered <= done]
    return {
        "upserts/s": sum(request.starts + request.ends for request in answered) / seconds,
        "share": len(answered) / seconds / (CAPACITY / LATENCY_MILLIS * 1000),
        "latency p95": percentile([request.answered - request.arrived for request in answered], 0.95) * 1000,
        "refused": sum(request.status != 200 for request in seen.requests),
        "late": lost / made,
    }


def run(sizes: Sizes) -> Section:
    cases = [(mode, number, adapts) for mode in sizes.modes for number in sizes.in_flight for adapts in (False, True)]
    found = repeated(cases, 1, lambda case: measure(*case, sizes.capacity_seconds))

    def row(case: tuple[str, int, bool]) -> tuple[Value, ...]:
        f = found[case]
        mode, number, adapts = case
        return (
            mode,
            f"up to {number}" if adapts else number,
            f["upserts/s"],
            f"{f['share']:.0%}",
            f["latency p95"],
            f["refused"],
            f"{f['late']:.0%}",
        )

    return Section(
        "A backend at its capacity",
        f"{SPANS_PER_SECOND:,} spans a second for {sizes.capacity_seconds:g} s at a server that serves {CAPACITY} "
        f"requests of {LATENCY_MILLIS} ms at a time, about half of what is offered. Beyond that, requests *wait* "
        "in its queue, or make each other *slow* (n at a time take (n/4)² times as long), or are refused with "
        "*429* or *503* and `Retry-After: 1`. *Of capacity*: requests served while the load lasted. *Not there*: "
        "spans not complete after as long again.",
        ("over capacity", "in flight", "upserts/s", "of capacity", "latency p95 ms", "refused", "not there"),
        [row(case) for case in found],
        {},
    )


if __name__ == "__main__":
    alone(run)
