"""The memory of a whole process while the backend is down and spans keep coming."""

import sys
from pathlib import Path

import pytest

from faults import black_hole, refused
from test_exit import run

SCRIPT = """
import logging
logging.getLogger("otel_sgp_exporter").setLevel(logging.CRITICAL)
processor = ConcurrentBatchSpanProcessor(SGPSpanExporter(), max_queue_bytes=8 * 2**20)
provider = TracerProvider()
provider.add_span_processor(processor)
tracer = provider.get_tracer("t")
def peak_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
def offer(mib):
    for number in range(mib * 10):
        tracer.start_span("span", attributes={"prompt": str(number % 10) * 100_000}).end()
spans(10)
before = peak_mib()
offer(512)
grown = peak_mib() - before
stats = processor.stats()
print(grown < 24, stats.offered == stats.pending + stats.dropped + stats.superseded)
os._exit(0)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize("backend", [refused, black_hole])
def test_memory_stays_flat_at_full_load_with_nobody_to_take_it(tmp_path: Path, backend: object) -> None:
    """Half a gigabyte of prompts goes by a queue of 8 MiB: the peak grows by less than three times that."""
    with backend() as url:  # type: ignore[operator]
        done = run(tmp_path, url, SCRIPT)
    assert (done.stdout, done.stderr) == ("True True\n", "")
