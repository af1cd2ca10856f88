"""What gzip request bodies save on the wire, and what they cost in processor time."""

import random
import time
from functools import lru_cache

from contenders import Contender, ours
from drivers import messages
from harness import Figures, against, alone, repeated
from plots import Plot
from sizes import Sizes
from tables import Section

CONTENDERS = (ours("plain"), ours("gzip", compression="gzip"))
MICRO, KB = 1e6, 1000
BURST_BYTES = 5_000_000


@lru_cache
def words() -> list[str]:
    """A vocabulary; what is made of it packs about as well as English does."""
    source = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    weights = [1 / (place + 2) for place in range(len(letters))]
    return ["".join(source.choices(letters, weights, k=source.randint(2, 10))) for _ in range(5_000)]


def text(source: random.Random, size: int) -> str:
    weights = [1 / (place + 1) for place in range(len(words()))]
    return " ".join(source.choices(words(), weights, k=size // 6))[:size]


def cost(url: str, contender: Contender, size: int, spans: int) -> Figures:
    """Microseconds of the whole process per span, making it included."""
    driver, source = contender.make(url), random.Random(2)
    driver.end(driver.start(0))
    driver.flush()
    prompts = [messages(text(source, size)) for _ in range(spans)]
    began = time.process_time()
    for number, each in enumerate(prompts):
        driver.end(driver.start(number, each))
    driver.flush()
    return {"us": (time.process_time() - began) / spans * MICRO}


def measure(contender: Contender, size: int) -> Figures:
    spans = max(5, min(1_000, BURST_BYTES // size))
    figures, seen = against(("--latency", "zero"), cost, contender, size, spans)
    return {**figures, "bytes": sum(request.bytes for request in seen.requests) / spans}


def run(sizes: Sizes) -> Section:
    payloads = sizes.payloads[:3]
    pairs = [(one, size) for one in CONTENDERS for size in payloads]
    found = repeated(pairs, min(sizes.repetitions, 2), lambda pair: measure(*pair))
    costs = {one.label: [found[one, size]["us"] for size in payloads] for one in CONTENDERS}
    sent = {one.label: [found[one, size]["bytes"] / KB for size in payloads] for one in CONTENDERS}
    names = [f"{size // KB} KB" for size in payloads]
    return Section(
        "Compression",
        "Processor time in µs per span of the whole process, and KB per span on the wire (a START and an END), with "
        "prompts that pack about as well as English. Off unless set: no documentation says that SGP takes it.",
        ("", *(f"µs, {name}" for name in names), *(f"KB, {name}" for name in names)),
        [(label, *costs[label], *sent[label]) for label in costs],
        {"gzip": Plot("What gzip costs", "µs of CPU", costs, names)},
    )


if __name__ == "__main__":
    alone(run)
