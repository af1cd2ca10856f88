"""Undelivered ENDs on disk, for the next process or for `otel-sgp replay`."""

from otel_sgp_exporter._spool._rows import LEASE_SECONDS
from otel_sgp_exporter._spool._spool import Spool

__all__ = ["LEASE_SECONDS", "Spool"]
