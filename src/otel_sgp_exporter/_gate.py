"""Whether sending may go on: one gate for all senders, so that they do not hammer a backend that asked for silence."""

from __future__ import annotations

from ._outcome import DropReason

_NEVER = float("inf")


class Gate:
    """Open, shut until a time, or ajar: after that time one batch goes alone, to probe.

    Plain data: the pipeline asks under its lock and says what time it is (monotonic seconds).
    """

    def __init__(self) -> None:
        self.reason: DropReason | None = None
        """Why it is shut, when waiting alone will not mend it."""
        self._shut_until: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """True when any number of batches may go."""
        return self._shut_until is None

    @property
    def opens_at(self) -> float:
        """When the next batch may go: long ago when open, never while a probe is out."""
        if self._shut_until is None:
            return -_NEVER
        return _NEVER if self._probing else self._shut_until

    def enter(self) -> bool:
        """A batch goes. True when it is the probe."""
        self._probing = not self.is_open
        return self._probing

    def shut(self, until: float, reason: DropReason | None) -> None:
        """Let nothing through before `until`; the probe, if one is out, has failed."""
        self._shut_until = max(until, self._shut_until or until)
        self._probing = False
        self.reason = reason

    def open(self) -> None:
        """The probe was answered."""
        self._shut_until = None
        self._probing = False
        self.reason = None

    def leave(self) -> None:
        """The probe ended without an answer: the next batch is the next probe."""
        self._probing = False

    def __repr__(self) -> str:
        state = "open" if self.is_open else "probing" if self._probing else f"shut until {self._shut_until:.1f}"
        return f"<Gate {state}>"
