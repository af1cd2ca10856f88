"""Which request to make next when one is refused for what is in it: halves, until what is wrong stands alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ._record import Record

_ALIKE = 9
_FEW = 8


class Isolation:
    """The requests still to be made for one batch. About 2 log2 n of them for each bad record among n."""

    def __init__(self, requests: Iterable[Sequence[Record]]) -> None:
        self._todo = list(requests)[::-1]
        self._accepted = False
        self._refused_alone: Counter[int] = Counter()

    def __iter__(self) -> Iterator[Sequence[Record]]:
        while self._todo:
            yield self._todo.pop()

    def again(self, requests: Iterable[Sequence[Record]]) -> None:
        """Make these requests next."""
        self._todo += list(requests)[::-1]

    def split(self, records: Sequence[Record]) -> None:
        """Somewhere in these is something wrong."""
        half = len(records) // 2
        self.again((records[:half], records[half:]))

    def accepted(self) -> None:
        """The server took a request, so it is not that it refuses everything."""
        self._accepted = True

    def refused(self, status: int) -> bool:
        """A record was refused that stood alone. True if all the others would be, too.

        While none was accepted, others are tried alone, picked at random: bad records may stand side by side, or at
        the beginning of every half. When many in a row are refused alike, the fault is common to all, and the rest is
        not tried.
        """
        self._refused_alone[status] += 1
        if self._accepted or sum(map(len, self._todo)) <= _FEW:
            return False
        if self._refused_alone[status] >= _ALIKE:
            return True
        self._single_out()
        return False

    def _single_out(self) -> None:
        sizes = [len(request) for request in self._todo]
        [number] = random.choices(range(len(sizes)), sizes)  # noqa: S311  # no secret hangs on it
        others = list(self._todo.pop(number))
        picked = others.pop(random.randrange(len(others)))  # noqa: S311
        if others:
            self._todo.insert(number, others)
        self._todo.append([picked])

    def rest(self) -> list[Record]:
        """What has not been tried, which will not be any more."""
        records = [record for request in reversed(self._todo) for record in request]
        self._todo.clear()
        return records
