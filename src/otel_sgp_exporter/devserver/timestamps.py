"""Timestamps as the service reads and writes them: microseconds since the epoch inside, ISO 8601 outside."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from .settings import Settings

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
DAY_MICROS = 86_400_000_000

_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt _](\d\d:\d\d(?::\d\d)?)(?:(?<=:\d\d:\d\d)[.,](\d{1,9}))?([Zz]|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
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
    """In UTC, with six digits of a second or none."""
    second, fraction = divmod(micros, 1_000_000)
    return f"{_iso_second(second)}.{fraction:06}Z" if fraction else f"{_iso_second(second)}Z"


def utc_day(micros: int) -> int:
    return micros // DAY_MICROS


def _from_iso(match: re.Match[str], settings: Settings) -> int:
    date, time, fraction, zone = match.groups()
    if time is None and settings.date_only == "reject":
        raise ValueError("input is too short")
    if time and not zone and settings.naive_timestamps == "reject":
        raise ValueError("input should have timezone info")
    micros = int(fraction[:6].ljust(6, "0")) if fraction else 0
    return _second_micros(date, time or "00:00") - _offset_micros(zone or "Z") + micros


# The spans of a batch share most of their seconds: remembering them halves the time that a batch takes to validate.
@lru_cache(4096)
def _second_micros(date: str, time: str) -> int:
    moment = datetime.fromisoformat(f"{date}T{time}")
    return _micros(moment.replace(tzinfo=timezone.utc))


@lru_cache(4096)
def _iso_second(second: int) -> str:
    return (EPOCH + timedelta(seconds=second)).isoformat().removesuffix("+00:00")


@lru_cache(256)
def _offset_micros(zone: str) -> int:
    if zone in "Zz":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[-2:])
    return (-minutes if zone[0] == "-" else minutes) * 60_000_000


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
