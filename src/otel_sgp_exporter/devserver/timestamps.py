"""Timestamps as the service reads and writes them: microseconds since the epoch inside, ISO 8601 outside."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any

from .settings import Settings

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
DAY_MICROS = 86_400_000_000

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt _](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?([Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII
)
_EPOCH_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
# Above this, a number counts milliseconds: where pydantic draws the line.
_SECONDS_LIMIT = 20_000_000_000


def parse_micros(value: Any, settings: Settings) -> int:
    """Microseconds since the epoch, further digits cut off; ValueError says what is wrong."""
    match = _ISO.fullmatch(value) if isinstance(value, str) else None
    micros = _from_iso(match, settings) if match else _from_epoch(value, settings)
    if not _FIRST_MICROS <= micros <= _LAST_MICROS:
        raise ValueError("year is out of range")
    return micros


def iso(micros: int) -> str:
    text = (EPOCH + timedelta(microseconds=micros)).isoformat()
    return text.removesuffix("+00:00") + "Z"


def utc_day(micros: int) -> int:
    return micros // DAY_MICROS


def _from_iso(match: re.Match[str], settings: Settings) -> int:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    if hour is None and settings.date_only == "reject":
        raise ValueError("input is too short")
    if hour and not zone and settings.naive_timestamps == "reject":
        raise ValueError("input should have timezone info")
    moment = datetime(
        int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=timezone.utc
    )
    micros = int(fraction[:6].ljust(6, "0")) if fraction else 0
    return _micros(moment) + micros - _offset_minutes(zone or "Z") * 60_000_000


def _offset_minutes(zone: str) -> int:
    if zone in "Zz":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[-2:])
    return -minutes if zone[0] == "-" else minutes


def _from_epoch(value: Any, settings: Settings) -> int:
    if isinstance(value, str) and _EPOCH_NUMBER.fullmatch(value):
        value = float(value)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError("invalid character in year")
    if settings.epoch_timestamps == "reject":
        raise ValueError("a number is not a timestamp")
    try:
        return _micros(EPOCH + timedelta(seconds=value / 1000 if abs(value) > _SECONDS_LIMIT else value))
    except OverflowError:
        raise ValueError("year is out of range") from None


def _micros(moment: datetime) -> int:
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_FIRST_MICROS = _micros(datetime.min.replace(tzinfo=timezone.utc))
_LAST_MICROS = _micros(datetime.max.replace(tzinfo=timezone.utc))
