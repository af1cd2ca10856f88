"""How far a partition may be committed: up to the first message that has not come to its end. Pure."""

from __future__ import annotations

from collections import deque


class Offsets:
    """The messages of one partition that are under way, from the time it is assigned until it is taken away."""

    def __init__(self) -> None:
        self._under_way: deque[int] = deque()
        self._settled: set[int] = set()
        self._next: int | None = None
        self._committed: int | None = None
        self.in_flight = 0
        """Messages that somebody else works at: senders, or the dead-letter topic."""

    def begin(self, offset: int) -> None:
        """A message came. Offsets come in order, with gaps where the broker has removed messages."""
        self._under_way.append(offset)

    def settle(self, offset: int) -> None:
        """A message has come to its end, in whatever order."""
        self._settled.add(offset)
        while self._under_way and self._under_way[0] in self._settled:
            done = self._under_way.popleft()
            self._settled.discard(done)
            self._next = done + 1

    def to_commit(self) -> int | None:
        """The offset to commit; None when it is committed already."""
        return None if self._next == self._committed else self._next

    def committed(self, offset: int) -> None:
        """That offset is with the broker now, or on its way there."""
        self._committed = offset

    @property
    def position(self) -> int | None:
        """The first offset that has not come to its end, as far as that is known."""
        return self._next if not self._under_way else self._under_way[0]

    def __repr__(self) -> str:
        return f"<Offsets {len(self._under_way)} under way, next {self._next}, committed {self._committed}>"
