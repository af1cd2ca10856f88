"""What a burst of large prompts costs in memory: 10,000 spans with 50 KB each, made as fast as possible."""

import threading
import time
from pathlib import Path
from typing import NamedTuple

from contenders import Contender, everybody, ours
from drivers import OURS, SENDS, Driver, prompt
from harness import Figures, against, alone, repeated
from plots import Plot
from sizes import Sizes
from tables import Section

PROMPT_BYTES = 50_000
WARM_SPANS = 20
SAMPLE_SECONDS = 0.02
MIB = 2**20
PAGE_BYTES = 4096


class Made(NamedTuple):
    """Seconds are monotonic, bytes those of the resident set."""

    before: int
    most: int
    most_pending: int
    began: float
    done: float


class Watch(threading.Thread):
    """Samples the process while it runs."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(daemon=True)
        self.most = self.most_pending = 0
        self.over = threading.Event()
        self._driver = driver

    def run(self) -> None:
        while not self.over.wait(SAMPLE_SECONDS):
            self.most = max(self.most, resident_bytes())
            self.most_pending = max(self.most_pending, self._driver.pending())


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def produce(url: str, contender: Contender, spans: int, seconds: float) -> Made:
    driver = contender.make(url)
    for number in range(WARM_SPANS):
        driver.end(driver.start(number))
    driver.flush()
    before = resident_bytes()
    watch = Watch(driver)
    watch.start()
    began = time.monotonic()
    for number in range(WARM_SPANS, WARM_SPANS + spans):
        driver.end(driver.start(number, prompt(number, PROMPT_BYTES)))
    done = time.monotonic()
    driver.stop(seconds)
    watch.over.set()
    watch.join()
    return Made(before, watch.most, watch.most_pending, began, done)


def measure(contender: Contender, sizes: Sizes) -> Figures:
    seconds = 60 if contender.driver == OURS else 2 * sizes.peer_seconds
    made, seen = against(("--latency", "fixed:150"), produce, contender, sizes.large_spans, seconds)
    last = max((request.answered for request in seen.accepted), default=made.done)
    return {
        "grown": (made.most - made.before) / MIB,
        "pending": made.most_pending,
        "made": made.done - made.began,
        "drained": last - made.done,
        "total": last - made.began,
        "complete": max(seen.ends - WARM_SPANS, 0),
        "seen running": max(seen.starts - WARM_SPANS, 0),
    }


def run(sizes: Sizes) -> Section:
    roomy = ours("ours, 1 GiB", max_queue_bytes=1024 * MIB, max_queue_size=4 * sizes.large_spans)
    first, *others = everybody(sizes)
    found = repeated([first, roomy, *others], min(sizes.repetitions, 2), lambda contender: measure(contender, sizes))
    rows = [
        (
            contender.label,
            SENDS[contender.driver],
            f["grown"],
            f["pending"],
            f["made"],
            f["drained"],
            f["total"],
            f["complete"],
            f["seen running"],
        )
        for contender, f in found.items()
    ]
    labels = [contender.label for contender in found]
    return Section(
        "Memory",
        f"{sizes.large_spans:,} spans with a prompt of 50 KB, made at once, 150 ms per request. *Grown*: the "
        "largest resident set less the one before, in MiB. *Drained*: seconds from the last span to the last "
        "answer. The byte budget of ours is 64 MiB unless said: beyond it STARTs go first, then ENDs, all "
        f"counted. Peers may go on for {2 * sizes.peer_seconds:g} s after the last span.",
        ("", "sends", "grown MiB", "most queued", "made s", "drained s", "total s", "ENDs there", "STARTs there"),
        rows,
        {"memory": Plot("Memory grown by large prompts", "MiB", {"": [f["grown"] for f in found.values()]}, labels)},
    )


if __name__ == "__main__":
    alone(run)
