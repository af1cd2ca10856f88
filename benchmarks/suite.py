"""All workloads, one after the other: prints tables, and writes them with their plots into a directory.

python benchmarks/suite.py            # about 20 minutes, writes benchmarks/results.md and benchmarks/plots/
python benchmarks/suite.py --quick    # about 2 minutes, prints only
"""

import argparse
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import capacity
import event_loop
import growth
import gzipped
import hot_path
import memory
import saturation
import start_delay
import sustained
from drivers import versions
from harness import hurry
from sizes import FULL, QUICK, TINY, Sizes
from summary import summary
from tables import Section, table

import gateway

HERE = Path(__file__).parent
WORKLOADS: dict[str, Callable[[Sizes], Section]] = {
    "saturation": saturation.run,
    "sustained": sustained.run,
    "memory": memory.run,
    "caller": hot_path.callers,
    "process": hot_path.processes,
    "event_loop": event_loop.run,
    "size": growth.by_size,
    "count": growth.by_count,
    "start_delay": start_delay.run,
    "gzip": gzipped.run,
    "capacity": capacity.run,
    "gateway": gateway.run,
}
ABOUT = """\
# Benchmarks

Written by `make bench`. All ran in the same minutes on the same machine, each in a process of its own against a stub
server of its own, so the ratios hold where the figures do not. Medians of up to {repetitions} runs, in rotating order.

- **ours**: `ConcurrentBatchSpanProcessor` as it comes, unless the row says otherwise: a START and an END of every span.
- **stock + OTLP/HTTP**: OpenTelemetry's `BatchSpanProcessor` and its OTLP/HTTP exporter, as they come: ENDs only.
- **stock + 30 lines**: the same processor over the exporter that a user would write (`naive_exporter.py`): ENDs only.
- **scale-gp-beta**: `scale_gp_beta.lib.tracing`, as it comes. It queues each span twice, by reference: a span that has
  ended when the queue is sent goes out as two ENDs.
- **asyncio queue***: *a model* of the queue of scale-agentex-python 0.13 to 0.22 with its published defaults, STARTs on
  (`async_queue.py`), over the real client of `scale-gp-beta`. The package itself was not run.

## In short

Ours, and the others as multiples of ours. "never": more than one in twenty was lost.
"""


def machine() -> list[tuple[str, str]]:
    """What was it measured on and with; no names of hosts."""
    system = (
        ("date", f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"),
        ("machine", f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("load average before", load()),
    )
    return [*system, *versions().items()]


def load() -> str:
    return ", ".join(f"{value:.2f}" for value in os.getloadavg())


def measured(names: Sequence[str], sizes: Sizes) -> dict[str, Section]:
    found = {}
    for name in names:
        began = time.monotonic()
        found[name] = WORKLOADS[name](sizes)
        print(f"{found[name].text()}\n\n({time.monotonic() - began:.0f} s)\n", flush=True)
    return found


def write(into: Path, sizes: Sizes, about: Sequence[tuple[str, str]], found: Mapping[str, Section]) -> None:
    """`results.md` and `plots/` in that directory."""
    plots = into / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    for name, plot in (item for section in found.values() for item in section.plots.items()):
        (plots / f"{name}.svg").write_text(plot.svg())
    texts = [
        ABOUT.format(repetitions=sizes.repetitions).rstrip(),
        summary(found),
        "## Measured with",
        table(("", ""), about),
        *(section.text("plots") for section in found.values()),
    ]
    (into / "results.md").write_text("\n\n".join(texts) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="sizes", action="store_const", const=QUICK, default=FULL)
    size.add_argument("--tiny", dest="sizes", action="store_const", const=TINY, help="only to see that it runs")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=[*WORKLOADS], help="these workloads")
    parser.add_argument("--output", type=Path, help="directory for results.md and plots/; benchmarks/ for all of it")
    arguments = parser.parse_args()
    if arguments.sizes is TINY:
        hurry()
    about, began = machine(), time.monotonic()
    found = measured(arguments.only, arguments.sizes)
    about += [("load average after", load()), ("took", f"{time.monotonic() - began:.0f} s")]
    is_all = arguments.sizes is FULL and len(found) == len(WORKLOADS)
    if into := arguments.output or (HERE if is_all else None):
        write(into, arguments.sizes, about, found)
    print(summary(found), table(("", ""), about), sep="\n\n")


if __name__ == "__main__":
    main()
