"""The spans that SGP shows as running: their START was delivered and their END has not come."""

from __future__ import annotations

from ._record import Record, SpanKey

_MAX_SPANS = 10_000
_MAX_BYTES = 8 * 1024 * 1024


class OpenSpans:
    """The encoded STARTs of open spans, so that a span nobody ends can be closed at shutdown.

    Bounded: of more than 10,000 spans or 8 MiB the oldest are forgotten, and stay as they are in SGP. Holds no span.
    """

    def __init__(self) -> None:
        self._starts: dict[SpanKey, bytes] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._starts)

    def opened(self, start: Record) -> None:
        """`start` was delivered."""
        if start.fragment is None or len(start.fragment) > _MAX_BYTES:
            return
        self._starts[start.key] = start.fragment
        self._bytes += len(start.fragment)
        while len(self._starts) > _MAX_SPANS or self._bytes > _MAX_BYTES:
            self.closed(next(iter(self._starts)))

    def closed(self, key: SpanKey) -> None:
        """The span has ended, or is somebody else's now."""
        self._bytes -= len(self._starts.pop(key, b""))

    def take_all(self) -> dict[SpanKey, bytes]:
        """Those still open, which are forgotten here."""
        starts, self._starts, self._bytes = self._starts, {}, 0
        return starts
