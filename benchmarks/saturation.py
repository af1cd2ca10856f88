"""How much of the possible throughput is used: short spans, far more of them than can be sent.

The server takes 150 ms for each request; with N in flight nobody can do more than N / 0.15 s. Measured between the
first span that was made and the beginning of the last full round: an exporter that lets the application finish first
gains nothing by it.
"""

import time
from typing import Any

from backend import Seen
from contenders import Contender, ours, peers
from drivers import IN_FLIGHT, OURS, SENDS
from harness import Figures, against, alone, repeated
from plots import Plot
from sizes import Sizes
from tables import Section

LATENCY_SECONDS = 0.15
OUR_SECONDS = 60


def produce(url: str, contender: Contender, spans: int, seconds: float) -> float:
    """When it began, on the clock that all processes share."""
    driver = contender.make(url)
    began = time.monotonic()
    for number in range(spans):
        driver.end(driver.start(number))
    driver.stop(seconds)
    return began


def in_flight(contender: Contender) -> int:
    return int(dict(contender.settings).get("max_concurrent_exports", IN_FLIGHT[contender.driver]))


def puts_per_second(began: float, seen: Seen, in_flight: int) -> float:
    """From the first span to the beginning of the last full round: after it senders run out of work."""
    arrived = sorted(request.arrived for request in seen.requests)
    last = max((len(arrived) - in_flight) // in_flight * in_flight, 1)
    return last / (arrived[last] - began) if last < len(arrived) else float("nan")


def measure(contender: Contender, sizes: Sizes) -> Figures:
    seconds = OUR_SECONDS if contender.driver == OURS else sizes.peer_seconds
    options = ("--latency", f"fixed:{LATENCY_SECONDS * 1000:g}", "--keep-bodies")
    began, seen = against(options, produce, contender, sizes.spans, seconds)
    most = in_flight(contender)
    puts = puts_per_second(began, seen, most)
    complete = sum(span.end > 0 for span in seen.spans.values())
    return {
        "PUT/s": puts,
        "share": puts * LATENCY_SECONDS / most,
        "spans/s": puts * seen.ends / len(seen.requests),
        "complete": complete,
        "most": seen.most_in_flight,
        "overlaps": seen.overlaps,
    }


def contenders(sizes: Sizes) -> list[Contender]:
    room: dict[str, Any] = {"max_queue_size": 2 * sizes.spans}
    wide = (ours(f"ours, {n} in flight", max_concurrent_exports=n, **room) for n in sizes.saturated_by)
    return [*wide, ours("ours, as it comes"), *peers(sizes)]


def run(sizes: Sizes) -> Section:
    found = repeated(contenders(sizes), sizes.repetitions, lambda contender: measure(contender, sizes))
    rows = [
        (
            contender.label,
            SENDS[contender.driver],
            f["PUT/s"],
            f"{f['share']:.1%}",
            f["spans/s"],
            f["complete"],
            f["most"],
            f["overlaps"],
        )
        for contender, f in found.items()
    ]
    labels = [contender.label for contender in found]
    return Section(
        "Saturation",
        f"{sizes.spans:,} short spans made at once, 150 ms per request. *Of the limit*: PUT/s as a share of N / "
        "150 ms for the N requests that the row may have in flight. Rows of ours with room for all spans; *as it "
        "comes* has the default queue of 20,000 records. Peers run with their defaults, and may go on for "
        f"{sizes.peer_seconds:g} s after the last span: what was not complete by then was lost or still queued. "
        "*Overlaps*: ENDs that came while their START was under way.",
        ("", "sends", "PUT/s", "of the limit", "spans/s", "complete", "most in flight", "overlaps"),
        rows,
        {"saturation": Plot("Saturation", "spans/s", {"": [f["spans/s"] for f in found.values()]}, labels)},
    )


if __name__ == "__main__":
    alone(run)
