"""How much of each workload is run: all of it, a quick look, or so little that a test can wait for it."""

from typing import NamedTuple

from drivers import ASYNC, NAIVE, OTLP, OURS, OURS_ENDS_ONLY, SCALE_GP


class Sizes(NamedTuple):
    """Times in seconds."""

    compared: tuple[str, ...]  # by name; ours in any case
    repetitions: int
    spans: int  # of the saturation workload
    saturated_by: tuple[int, ...]  # requests in flight there
    peer_seconds: float  # how long a peer may drain what it was given
    sustained_seconds: float
    sustained_loads: tuple[int, ...]  # times 42 requests of 4 spans per second
    large_spans: int  # of the memory workload, 50 KB each
    payloads: tuple[int, ...]  # bytes of prompts, where that is varied
    bursts: int  # of 1,000 spans, in the hot path workload
    loop_seconds: float
    growth_bytes: int  # sent for each payload size
    growth_spans: tuple[int, ...]
    delay_seconds: float
    delays: tuple[str | int, ...]
    capacity_seconds: float
    in_flight: tuple[int, ...]
    modes: tuple[str, ...]


FULL = Sizes(
    compared=(OURS, OURS_ENDS_ONLY, OTLP, NAIVE, SCALE_GP, ASYNC),
    repetitions=3,
    spans=20_000,
    saturated_by=(8, 16, 32),
    peer_seconds=3,
    sustained_seconds=5,
    sustained_loads=(1, 2, 8),
    large_spans=10_000,
    payloads=(1_000, 10_000, 100_000, 1_000_000),
    bursts=20,
    loop_seconds=2,
    growth_bytes=30_000_000,
    growth_spans=(1_000, 10_000, 100_000, 1_000_000),
    delay_seconds=8,
    delays=(0, 250, 1000, 5000, "off"),
    capacity_seconds=4,
    in_flight=(8, 32),
    modes=("wait", "slow", "429", "503"),
)
QUICK = FULL._replace(
    repetitions=1,
    spans=6_000,
    peer_seconds=1.5,
    sustained_seconds=2,
    sustained_loads=(8,),
    large_spans=1_000,
    bursts=8,
    loop_seconds=0.8,
    growth_bytes=5_000_000,
    growth_spans=(1_000, 10_000),
    delay_seconds=3,
    capacity_seconds=1,
    in_flight=(4, 32),
    modes=("wait", "slow", "429"),
)
TINY = QUICK._replace(
    compared=(OURS,),
    spans=600,
    saturated_by=(8,),
    peer_seconds=1,
    sustained_seconds=0.3,
    sustained_loads=(1,),
    large_spans=40,
    payloads=(1_000, 10_000),
    bursts=1,
    loop_seconds=0.2,
    growth_bytes=200_000,
    growth_spans=(200,),
    delay_seconds=0.3,
    delays=(0, "off"),
    capacity_seconds=0.2,
    in_flight=(4,),
    modes=("429",),
)
