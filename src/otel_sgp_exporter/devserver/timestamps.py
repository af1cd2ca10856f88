"""Timestamps as the service reads and writes them: microseconds since the epoch inside, ISO 8601 outside."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any

from .settings import Settings

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
DAY_MICROS = 86_400_000_000

_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_TIME = re.compile(
    r"[Tt _](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_EPOCH_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
# Above this, a number counts milliseconds: where pydantic draws the line.
_SECONDS_LIMIT = 20_000_000_000


def parse_micros(value: Any, settings: Settings) -> int:
    """Microseconds since the epoch, further digits cut off; ValueError says what is wrong."""
    if isinstance(value, str):
        date = _DATE.match(value)
        if date:
            return _from_iso(date, value, settings)
        if _EPOCH_NUMBER.fullmatch(value):
            return _from_epoch(float(value), settings)
        raise ValueError("invalid character in year")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _from_epoch(value, settings)
    raise ValueError("expected a string or a number")


def iso(micros: int) -> str:
    text = (EPOCH + timedelta(microseconds=micros)).isoformat()
    return text.removesuffix("+00:00") + "Z"


def utc_day(micros: int) -> int:
    return micros // DAY_MICROS


def _from_iso(date: re.Match[str], value: str, settings: Settings) -> int:
    year, month, day = map(int, date.groups())
    if date.end() == len(value):
        if settings.date_only == "reject":
            raise ValueError("input is too short")
        return _micros(datetime(year, month, day, tzinfo=timezone.utc))
    time = _TIME.fullmatch(value, date.end())
    if not time:
        raise ValueError("invalid time")
    hour, minute, second, fraction, zulu, sign, offset_hours, offset_minutes = time.groups()
    if not (zulu or sign) and settings.naive_timestamps == "reject":
        raise ValueError("input should have timezone info")
    micro = int(fraction[:6].ljust(6, "0")) if fraction else 0
    moment = datetime(year, month, day, int(hour), int(minute), int(second or 0), micro, timezone.utc)
    offset = (int(offset_hours) * 60 + int(offset_minutes)) * (-1 if sign == "-" else 1) if sign else 0
    return _micros(moment) - offset * 60_000_000


def _from_epoch(number: float, settings: Settings) -> int:
    if settings.epoch_timestamps == "reject":
        raise ValueError("a number is not a timestamp")
    seconds = number / 1000 if abs(number) > _SECONDS_LIMIT else number
    try:
        return _micros(EPOCH + timedelta(seconds=seconds))
    except OverflowError:
        raise ValueError("dates after 9999 are not supported") from None


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)
