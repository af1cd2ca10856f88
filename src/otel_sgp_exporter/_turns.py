"""Turns: whether one more request may be in flight, and waiting for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ._delivery import Turn
from ._guard import Guard
from ._outcome import Verdict


class Turns:
    """One for each attempt; see `Terms`.

    Args:
        guard: Of the state that knows how many requests are in flight.
        clock: Monotonic seconds.
        close_deadline: When all have to be done; infinite until somebody closes.
    """

    def __init__(self, guard: Guard, clock: Callable[[], float], close_deadline: Callable[[], float]) -> None:
        self._guard = guard
        self._clock = clock
        self._close_deadline = close_deadline

    @contextmanager
    def take(self, give_up_at: float, *, is_probe: bool = False) -> Iterator[Turn]:
        """Waits until one more request may be in flight; not granted when none may, or not in time."""
        with self._guard.locked() as state:
            while (may_go := is_probe or state.gate.is_open) and not state.window.has_room:
                left = min(give_up_at, self._close_deadline()) - self._clock()
                if left <= 0:
                    may_go = False
                    break
                self._guard.turn.wait(left)
            if may_go:
                state.window.enter()
        turn = Turn(may_go)
        try:
            yield turn
        finally:
            if may_go:
                self._answered(turn.verdict, is_probe=is_probe)

    def _answered(self, verdict: Verdict | None, *, is_probe: bool) -> None:
        with self._guard.locked() as state:
            was_open = state.gate.is_open
            state.answered(verdict, self._clock(), is_probe=is_probe)
            self._guard.turn.notify_all()
            if state.gate.is_open and not was_open:
                self._guard.work.notify_all()
