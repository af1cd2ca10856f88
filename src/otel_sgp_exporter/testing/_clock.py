from __future__ import annotations


class FakeClock:
    """Seconds that pass only when told, in place of `time.monotonic` and `time.sleep`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.waits: list[float] = []

    def __call__(self) -> float:
        """The time."""
        return self.now

    def wait(self, seconds: float) -> None:
        """Let `seconds` pass at once, and remember that someone waited for them."""
        self.waits.append(seconds)
        self.now += seconds
