"""SGP ids and timestamps: functions of the span alone, so that every process computes the same ones."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import lru_cache

from opentelemetry.trace import format_span_id, format_trace_id

_LOW_64 = (1 << 64) - 1
_LOW_128 = (1 << 128) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EARLIEST = "0001-01-01T00:00:00.000000+00:00"
_LATEST = "9999-12-31T23:59:59.999999+00:00"


@lru_cache(4_096)
def sgp_trace_id(trace_id: int) -> str:
    """The W3C trace id as dashed hex."""
    digits = f"{trace_id & _LOW_128:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


@lru_cache(4_096)
def sgp_span_id(trace_id: int, span_id: int) -> str:
    """Dashed hex of the low half of the trace id, then the span id: a span id alone is too short to be unique."""
    half, digits = f"{trace_id & _LOW_64:016x}", f"{span_id & _LOW_64:016x}"
    return f"{half[:8]}-{half[8:12]}-{half[12:]}-{digits[:4]}-{digits[4:]}"


w3c_trace_id = lru_cache(4_096)(format_trace_id)
w3c_span_id = lru_cache(4_096)(format_span_id)


def timestamp(ns: int) -> str:
    """RFC 3339 in UTC of nanoseconds since the epoch, floored to microseconds; always six digits.

    A time that the calendar cannot hold becomes the nearest one that it can.
    """
    seconds, rest = divmod(int(ns), 1_000_000_000)
    try:
        return f"{_to_the_second(seconds)}.{rest // 1000:06d}+00:00"
    except OverflowError:
        return _LATEST if ns > 0 else _EARLIEST


@lru_cache(1_024)
def _to_the_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]
