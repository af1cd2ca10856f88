"""What may be committed: never a message that has not come to its end, nor one behind it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_sgp_exporter.gateway.offsets import Offsets


@given(st.lists(st.integers(1, 3), max_size=30), st.randoms())
def test_what_is_committed_is_everything_before_the_first_that_has_not_ended(gaps: list[int], random: object) -> None:
    """Messages end in any order; offsets have gaps where the broker has removed some."""
    offsets, came = Offsets(), []
    at = 100
    for gap in gaps:
        at += gap
        came.append(at)
        offsets.begin(at)
    order = list(came)
    random.shuffle(order)  # type: ignore[attr-defined]
    settled: set[int] = set()
    for offset in order:
        offsets.settle(offset)
        settled.add(offset)
        before = [each for each in came if all(earlier in settled for earlier in came if earlier <= each)]
        assert (before[-1] + 1 if before else None) == offsets.to_commit()
        waiting = [each for each in came if each not in settled]
        assert (waiting[0] if waiting else came[-1] + 1) == offsets.position


def test_nothing_is_committed_twice_unless_it_has_failed() -> None:
    offsets = Offsets()
    assert offsets.to_commit() is None
    offsets.begin(7)
    offsets.settle(7)
    assert offsets.to_commit() == 8
    offsets.committed(8)
    assert offsets.to_commit() is None
    offsets.committed(-1)
    assert offsets.to_commit() == 8
