"""What tracing costs the traced program: processor time of its threads, and of the process as a whole, per span."""

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from contenders import ENDS_ONLY, Contender, everybody, span_processors, with_ends_only
from drivers import OTLP, SENDS, Bare, Driver, Stock, available, prompt
from harness import Figures, against, alone, percentile, repeated
from plots import Plot
from sizes import Sizes
from tables import Section, Value

BURST = 1_000  # so small that no queue is full
TURN = 50
KB = 1000
SIZES = (0, 1 * KB, 10 * KB)
ZERO = ("--latency", "zero")
MICRO = 1e6


def make(driver: Driver, spans: int, size: int = 0) -> float:
    """Processor seconds of this thread, without those that make the prompts."""
    prompts = [prompt(number, size) if size else "" for number in range(spans)]
    began = time.thread_time()
    for number, text in enumerate(prompts):
        driver.end(driver.start(number, text))
    return time.thread_time() - began


def cost_in_turns(drivers: Sequence[Driver], spans: int) -> list[float]:
    """Of each, in short turns, so that all meet the same caches, clock rates and neighbours."""
    costs = dict.fromkeys(drivers, 0.0)
    for turn in range(spans // TURN):
        for driver in drivers if turn % 2 else reversed(drivers):  # nobody always comes after the same one
            costs[driver] += make(driver, TURN)
    return [*costs.values()]


def bare_and_added(threads: int, drivers: Sequence[Driver], bursts: int) -> list[float]:
    """Microseconds per span that the application spends on a bare span, and on top of that with each driver."""
    all_drivers = [Bare(), *drivers]
    costs = []
    for _ in range(bursts + 1):  # the first warms up
        with ThreadPoolExecutor(threads) as pool:
            parts = [pool.submit(cost_in_turns, all_drivers, BURST // threads) for _ in range(threads)]
            bare, *totals = (sum(part) for part in zip(*(part.result() for part in parts), strict=True))
        costs.append((bare, *(total - bare for total in totals)))
        for driver in drivers:
            driver.flush()
    return [statistics.median(cost) / BURST * MICRO for cost in zip(*costs[1:], strict=True)]


def caller(url: str, contender: Contender, bursts: int) -> Figures:
    """Microseconds per span that the application spends: on a bare span, and on top of it, in 1 and 4 threads."""
    driver = contender.make(url)
    figures: Figures = {}
    for threads in (1, 4):
        figures[f"bare {threads}"], figures[f"added {threads}"] = bare_and_added(threads, [driver], bursts)
    return figures


def beside_stock(url: str, contender: Contender, bursts: int) -> Figures:
    """What a span adds to its thread, as a multiple of what the stock processor adds that takes turns with it.

    NaN where that one is not installed.
    """
    if not available(OTLP):
        return {"beside": float("nan")}
    _, added, added_by_stock = bare_and_added(1, [contender.make(url), Stock(url)], bursts)
    return {"beside": added / added_by_stock}


def calls(url: str, contender: Contender, bursts: int) -> Figures:
    """Microseconds on the clock of one `on_start` or `on_end`, while everything behind it is as busy as it can be."""
    driver, bare = contender.make(url), Bare()
    assert hasattr(driver, "processor")
    on_start, on_end, clock = driver.processor.on_start, driver.processor.on_end, time.perf_counter_ns
    took: list[int] = []
    for number in range(bursts * BURST):
        span = bare.start(number)
        began = clock()
        on_start(span)
        took.append(clock() - began)
        span.end()
        began = clock()
        on_end(span)
        took.append(clock() - began)
    driver.stop(0.1)
    return {f"p{share * 100:g}": percentile(took, share) / 1000 for share in (0.5, 0.99, 0.999)}


def process(url: str, contender: Contender, size: int, bursts: int) -> Figures:
    """Microseconds per span of the whole process, from the call to the answer, less those that make the bare span."""
    driver, bare = contender.make(url), Bare()
    costs = []
    for number in range(bursts + 1):
        bare_cost = make(bare, BURST, size)
        prompts = [prompt(number, size) if size else "" for number in range(BURST)]
        began = time.process_time()
        for index, text in enumerate(prompts):
            driver.end(driver.start(index, text))
        driver.flush()
        if number:
            costs.append((time.process_time() - began - bare_cost) / BURST * MICRO)
    return {"process": statistics.median(costs)}


def callers(sizes: Sizes) -> Section:
    bursts = max(sizes.bursts // 2, 1)
    found = repeated(everybody(sizes), sizes.repetitions, lambda one: against(ZERO, caller, one, bursts)[0])
    beside = repeated(everybody(sizes), sizes.repetitions, lambda one: against(ZERO, beside_stock, one, bursts)[0])
    clocks = repeated(span_processors(sizes), sizes.repetitions, lambda one: against(ZERO, calls, one, sizes.bursts)[0])

    def row(contender: Contender) -> tuple[Value, ...]:
        f = found[contender]
        costs = (f["added 1"], f["added 4"], f["bare 1"], beside[contender]["beside"])
        clock = clocks.get(contender, {})
        return (contender.label, *costs, *(clock.get(name) for name in ("p50", "p99", "p99.9")))

    rows = [row(contender) for contender in found]
    series = {f"{threads} thread(s)": [row[threads // 4 + 1] for row in rows] for threads in (1, 4)}
    return Section(
        "Hot path: the caller",
        "Processor time in µs per span that starting and ending it costs the application's thread on top of the "
        "bare span (a provider without a processor), with 1 and 4 threads, zero latency. `scale-gp-beta` and the "
        "asyncio queue make their own spans: theirs less the same bare span. *Beside stock*: what is added, as a "
        "multiple of what stock + OTLP/HTTP adds that takes turns with it in the same process (for itself: a second "
        "one). *One call*: µs on the clock of one `on_start` or `on_end` in a flat-out loop, with all senders busy.",
        ("", "added, 1 thread", "added, 4 threads", "bare span", "beside stock", "one call p50", "p99", "p99.9"),
        rows,
        {"caller": Plot("Added to the caller, per span", "µs of CPU", series, [one.label for one in found])},  # type: ignore[dict-item]
    )


def processes(sizes: Sizes) -> Section:
    contenders = with_ends_only(sizes)
    pairs = [(contender, size) for contender in contenders for size in SIZES]
    bursts = max(sizes.bursts // 4, 1)
    found = repeated(pairs, min(sizes.repetitions, 2), lambda pair: against(ZERO, process, *pair, bursts)[0])
    costs = {one: [found[one, size]["process"] for size in SIZES] for one in contenders}
    base = next((costs[one] for one in contenders if one.driver == OTLP), [float("nan")] * len(SIZES))

    def row(one: Contender) -> tuple[Value, ...]:
        ratios = (cost / otlp for cost, otlp in zip(costs[one], base, strict=True))
        return (one.label, "END" if one == ENDS_ONLY else SENDS[one.driver], *costs[one], *ratios)

    series = {f"{size // KB} KB": [costs[one][number] for one in contenders] for number, size in enumerate(SIZES)}
    return Section(
        "Hot path: the process",
        "Processor time in µs per span of the whole process, from the call to the server's answer, less the bare "
        f"span's; with no prompt and with prompts of 1 and 10 KB, in bursts of {BURST:,}. Nothing is lost. "
        "*Ratio*: to the stock processor with OTLP/HTTP, which sends ENDs only.",
        ("", "sends", "no prompt", "1 KB", "10 KB", "ratio, none", "ratio, 1 KB", "ratio, 10 KB"),
        [row(one) for one in contenders],
        {"process": Plot("The whole process, per span", "µs of CPU", series, [one.label for one in contenders])},
    )


if __name__ == "__main__":
    alone(callers)
    alone(processes)
