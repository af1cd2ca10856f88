"""An imitation SGP: the span API on SQLite, for development, demos and tests. Imports nothing of the exporter."""

from .server import DevServer
from .settings import Settings, parse_setting

__all__ = ["DevServer", "Settings", "parse_setting"]
