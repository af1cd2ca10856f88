"""Runs a piece of a workload in a process of its own against a stub server of its own, and takes medians."""

import argparse
import logging
import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any, TypeVar

from backend import Backend, Seen
from sizes import FULL, QUICK, Sizes
from tables import Section

PATIENCE_SECONDS = 600
IMPORTED_ONCE = ["opentelemetry.sdk.trace.export", "otel_sgp_exporter._exporter", "otel_sgp_exporter._processor"]

processes: SpawnContext | ForkServerContext = multiprocessing.get_context("spawn")

Figures = dict[str, float]
H = TypeVar("H", bound=Hashable)


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` returns, called in a new interpreter: no memory, thread or import of another run is there."""
    ours, theirs = processes.Pipe()
    child = processes.Process(target=_report, args=(theirs, function, arguments), daemon=True)
    child.start()
    theirs.close()
    try:
        if not ours.poll(PATIENCE_SECONDS):
            raise TimeoutError(f"{function.__name__}{arguments} took more than {PATIENCE_SECONDS} s")
        return ours.recv()
    except EOFError:
        raise RuntimeError(f"{function.__name__}{arguments} failed in its process, see above") from None
    finally:
        child.kill()
        child.join()


def hurry() -> None:
    """Start children from a process that has imported the most already: quick, and less alike than new interpreters."""
    global processes
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(IMPORTED_ONCE)


def _report(pipe: Connection, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    for variable in [*os.environ]:
        if variable.startswith(("OTEL_", "SGP_")) or variable.lower().endswith("_proxy"):
            del os.environ[variable]
    logging.disable()  # peers say of every span that they have lost it
    pipe.send(function(*arguments))
    pipe.close()


def against(options: Sequence[str], function: Callable[..., Any], *arguments: Any) -> tuple[Any, Seen]:
    """What `function(url, *arguments)` returns from a child, and what the stub server saw."""
    with Backend(*options) as backend:
        result = in_child(function, backend.url, *arguments)
        return result, backend.stop()


def repeated(things: Sequence[H], times: int, measure: Callable[[H], Figures]) -> dict[H, Figures]:
    """Medians of what is measured of each, in rounds that begin with another one every time."""
    found: dict[H, list[Figures]] = {thing: [] for thing in things}
    for thing in rotated(things, times):
        found[thing].append(measure(thing))
    return {thing: medians(rows) for thing, rows in found.items()}


def rotated(things: Sequence[H], times: int) -> Iterator[H]:
    for number in range(times):
        first = number * max(1, len(things) // times) % len(things)
        yield from (*things[first:], *things[:first])


def at_once(things: Sequence[H], measure: Callable[[H], Figures]) -> dict[H, Figures]:
    """What is measured of each, all at the same time: for loads so light that they do not disturb each other."""
    with ThreadPoolExecutor(len(things)) as pool:
        return dict(zip(things, pool.map(measure, things), strict=True))


def medians(rows: Sequence[Mapping[str, float]]) -> Figures:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def percentile(values: Sequence[float], share: float) -> float:
    """NaN of nothing."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else float("nan")


def alone(run: Callable[[Sizes], Section]) -> None:
    """The command line of a workload on its own."""
    parser = argparse.ArgumentParser(description=(sys.modules[run.__module__].__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less of everything")
    print(run(QUICK if parser.parse_args().quick else FULL).text())
