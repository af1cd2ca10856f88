"""How much later an asyncio application's timers fire while its spans are exported."""

import asyncio
import time

from contenders import Contender, with_ends_only
from drivers import Bare, Driver, prompt
from harness import Figures, against, alone, percentile, repeated
from plots import Plot
from sizes import Sizes
from tables import Section

TICK_SECONDS = 0.005
SPANS_PER_SECOND = 1344  # the sustained load, at 8x
PROMPT_BYTES = 10_000
BURST = 1_000
PAUSE_SECONDS = 0.1


class Ticks:
    """A timer that notes how late it was, in seconds."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._task = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            due = time.perf_counter() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.late.append(time.perf_counter() - due)

    def p99_millis(self) -> float:
        self._task.cancel()
        return percentile(self.late, 0.99) * 1000


async def steadily(driver: Driver, seconds: float) -> float:
    """Spans all the time, made by the loop a few at a time."""
    ticks, number, began = Ticks(), 0, time.monotonic()
    while (elapsed := time.monotonic() - began) < seconds:
        while number < elapsed * SPANS_PER_SECOND:
            driver.end(driver.start(number, prompt(number, PROMPT_BYTES)))
            number += 1
        await asyncio.sleep(TICK_SECONDS / 2)
    return ticks.p99_millis()


async def after_bursts(driver: Driver, seconds: float) -> float:
    """A backlog, made while nobody looks at the timer, then the timer for as long as it takes to send it."""
    late: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        for number in range(BURST):
            driver.end(driver.start(number, prompt(number, PROMPT_BYTES)))
        ticks = Ticks()
        while driver.pending() and time.monotonic() - began < seconds:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.05)
        ticks.p99_millis()
        late += ticks.late
        await asyncio.sleep(PAUSE_SECONDS)
    return percentile(late, 0.99) * 1000


async def _lateness(url: str, contender: Contender | None, seconds: float) -> Figures:
    idle = Ticks()
    await asyncio.sleep(seconds / 2)
    figures = {"idle": idle.p99_millis()}
    driver: Driver = Bare() if contender is None else contender.make(url)
    driver.end(driver.start(0))
    await asyncio.sleep(0.3)  # threads and connections are there
    figures["steady"] = await steadily(driver, seconds)
    figures["bursts"] = float("nan") if contender is None else await after_bursts(driver, seconds)
    return figures


def lateness(url: str, contender: Contender | None, seconds: float) -> Figures:
    return asyncio.new_event_loop().run_until_complete(_lateness(url, contender, seconds))  # what is left dies with us


def run(sizes: Sizes) -> Section:
    found = repeated(
        [None, *with_ends_only(sizes)],
        min(sizes.repetitions, 2),
        lambda one: against(("--latency", "zero"), lateness, one, sizes.loop_seconds)[0],
    )
    labels = ["spans, no exporter" if one is None else one.label for one in found]
    rows = [
        (label, f["idle"], f["steady"], f["bursts"], f["steady"] - f["idle"], f["bursts"] - f["idle"])
        for label, f in zip(labels, found.values(), strict=True)
    ]
    above = {"steady": [row[4] for row in rows], "backlog": [row[5] for row in rows]}
    return Section(
        "Event loop",
        f"An asyncio application with a timer of {TICK_SECONDS * 1000:g} ms; how late it fires, p99 in ms, with 10 "
        f"KB prompts and zero latency. *Steady*: {SPANS_PER_SECOND:,} spans a second made on the loop. *Backlog*: "
        f"while {BURST:,} spans at a time, made before, are sent flat out.",
        ("", "idle", "steady", "backlog", "steady less idle", "backlog less idle"),
        rows,
        {"event_loop": Plot("Timers late by, p99, above idle", "ms", above, labels)},
    )


if __name__ == "__main__":
    alone(run)
