"""SGP ids and timestamps: functions of the span alone, so that every process computes the same ones."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_LOW_64 = (1 << 64) - 1
_LOW_128 = (1 << 128) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EARLIEST = datetime.min.replace(tzinfo=timezone.utc)
_LATEST = datetime.max.replace(tzinfo=timezone.utc)


def sgp_trace_id(trace_id: int) -> str:
    """The W3C trace id as dashed hex."""
    digits = f"{trace_id & _LOW_128:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def sgp_span_id(trace_id: int, span_id: int) -> str:
    """Dashed hex of the low half of the trace id, then the span id: a span id alone is too short to be unique."""
    return sgp_trace_id((trace_id & _LOW_64) << 64 | (span_id & _LOW_64))


def timestamp(ns: int) -> str:
    """RFC 3339 in UTC of nanoseconds since the epoch, floored to microseconds; always six digits.

    A time that the calendar cannot hold becomes the nearest one that it can.
    """
    try:
        moment = _EPOCH + timedelta(microseconds=ns // 1000)
    except OverflowError:
        moment = _LATEST if ns > 0 else _EARLIEST
    return moment.isoformat(timespec="microseconds")
