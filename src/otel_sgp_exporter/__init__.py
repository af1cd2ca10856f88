"""Puts every OpenTelemetry span of an LLM agent into Scale GenAI Platform (SGP) while the agent is still running."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from ._configure import configure
    from ._exporter import SGPSpanExporter
    from ._handoff import handoff, resume
    from ._ledger import FlushResult, Stats
    from ._outcome import DropReason
    from ._processor import ConcurrentBatchSpanProcessor
    from ._selection import agent_spans

__all__ = [
    "ConcurrentBatchSpanProcessor",
    "DropReason",
    "FlushResult",
    "SGPSpanExporter",
    "Stats",
    "__version__",
    "agent_spans",
    "configure",
    "handoff",
    "resume",
]

# Imported when first asked for: zero-code set-up loads this package into processes that never want the engine.
_HOMES = {
    "ConcurrentBatchSpanProcessor": "_processor",
    "DropReason": "_outcome",
    "FlushResult": "_ledger",
    "SGPSpanExporter": "_exporter",
    "Stats": "_ledger",
    "agent_spans": "_selection",
    "configure": "_configure",
    "handoff": "_handoff",
    "resume": "_handoff",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
