"""Fakes for tests: a transport that answers as told, and a clock that stands still."""

from ._clock import FakeClock
from ._transport import ScriptedTransport, Sent

__all__ = ["FakeClock", "ScriptedTransport", "Sent"]
