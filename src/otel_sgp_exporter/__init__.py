"""Puts every OpenTelemetry span of an LLM agent into Scale GenAI Platform (SGP) while the agent is still running."""

from ._exporter import SGPSpanExporter
from ._ledger import FlushResult, Stats
from ._outcome import DropReason
from ._processor import ConcurrentBatchSpanProcessor
from ._version import __version__

__all__ = [
    "ConcurrentBatchSpanProcessor",
    "DropReason",
    "FlushResult",
    "SGPSpanExporter",
    "Stats",
    "__version__",
]
