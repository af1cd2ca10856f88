"""Whether the cost of a span depends on how many there were before (it must not), and how it grows with its size."""

import time

from contenders import Contender, ours, span_processors
from drivers import prompt
from harness import Figures, against, alone, repeated
from plots import Plot
from sizes import Sizes
from tables import Section

BURST_BYTES = 10_000_000
BURST_SPANS = 1_000
MEGABYTE, MICRO = 1e6, 1e6


def cost(url: str, contender: Contender, spans: int, size: int) -> Figures:
    """Microseconds of the whole process per span, in bursts that no queue is too small for."""
    driver = contender.make(url)
    driver.end(driver.start(0))
    driver.flush()
    burst = max(1, min(BURST_SPANS, BURST_BYTES // max(size, 1)))
    seconds = 0.0
    for first in range(0, spans, burst):
        count = min(burst, spans - first)
        prompts = [prompt(number, size) if size else "" for number in range(count)]
        began = time.process_time()
        for number, text in enumerate(prompts):
            driver.end(driver.start(number, text))
        del prompts
        driver.flush()
        seconds += time.process_time() - began
    return {"us": seconds / spans * MICRO}


def measure(contender: Contender, spans: int, size: int) -> Figures:
    return against(("--latency", "zero"), cost, contender, spans, size)[0]


def by_size(sizes: Sizes) -> Section:
    pairs = [(one, size) for one in span_processors(sizes) for size in sizes.payloads]
    spans = {size: max(3, min(4 * BURST_SPANS, sizes.growth_bytes // size)) for size in sizes.payloads}
    found = repeated(pairs, min(sizes.repetitions, 2), lambda pair: measure(pair[0], spans[pair[1]], pair[1]))
    costs = {one.label: [found[one, size]["us"] for size in sizes.payloads] for one in span_processors(sizes)}
    large = (sizes.payloads[-1] - sizes.payloads[-2]) / MEGABYTE
    rows = [(label, *us, (us[-1] - us[-2]) / large) for label, us in costs.items()]
    return Section(
        "Growth with the size of a span",
        "Processor time in µs per span of the whole process, making it included, with prompts of 1 KB and more, "
        "zero latency. *Per MB*: between the two largest.",
        ("", *(f"{size // 1000:,} KB" for size in sizes.payloads), "per MB"),
        rows,
        {"growth": Plot("Cost of a span by its size", "µs of CPU", costs, xs=sizes.payloads, x_unit="bytes of prompt")},
    )


def by_count(sizes: Sizes) -> Section:
    counts = sizes.growth_spans
    found = repeated(counts, 1, lambda count: measure(ours(), count, 0))
    return Section(
        "Growth with the number of spans",
        "Processor time in µs per short span of the whole process, making it included, over a process's first N "
        "spans: flat if nothing piles up.",
        ("", *(f"{count:,}" for count in counts)),
        [("ours", *(figures["us"] for figures in found.values()))],
        {},
    )


if __name__ == "__main__":
    alone(by_size)
    alone(by_count)
