"""How many requests may be in flight: all that are allowed, and fewer while the backend pushes back."""

from __future__ import annotations

_SETTLING_SECONDS = 0.5
_CAUTION_SECONDS = 10.0


class Window:
    """Counts requests in flight, and adapts to what the backend can take, as TCP does.

    Half as many when the backend pushes back, then one more for every round of answers, up to what was too many the
    last time, and after some seconds beyond that. Plain data: the pipeline asks under its lock and says what time it is
    (monotonic seconds).

    Args:
        most: Requests in flight at most; that many may go until the backend says otherwise.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._width = float(most)
        self._narrowed_at = -float("inf")
        self._too_many = most + 1
        self._has_delivered = False  # since then
        self.in_flight = 0

    @property
    def limit(self) -> int:
        """Requests that may be in flight at the moment; at least one."""
        return int(self._width)

    @property
    def has_room(self) -> bool:
        """True when one more may go."""
        return self.in_flight < self.limit

    def enter(self) -> None:
        """A request goes."""
        self.in_flight += 1

    def leave(self) -> None:
        """A request was answered, or will not be."""
        self.in_flight -= 1

    def narrow(self, now: float) -> None:
        """The backend pushed back. Once for those that were in flight together."""
        if now >= self._narrowed_at + _SETTLING_SECONDS:
            # A backend that takes nothing at all does not show how much would be too many.
            self._too_many = self.limit if self._has_delivered else self._most + 1
            self._width = max(self._width / 2, 1.0)
            self._narrowed_at = now
            self._has_delivered = False

    def widen(self, now: float) -> None:
        """A request was delivered."""
        self._has_delivered = True
        wider = min(self._width + 1 / self._width, float(self._most))
        if wider < self._too_many or now >= self._narrowed_at + _CAUTION_SECONDS:
            self._width = wider

    def __repr__(self) -> str:
        return f"<Window {self.in_flight} of {self.limit} in flight>"
