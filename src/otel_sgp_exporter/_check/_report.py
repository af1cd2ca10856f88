"""What `otel-sgp check` prints: settings with their sources, secrets masked, and columns for people."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from .._config import EXPORTER_SETTINGS, PROCESSOR_SETTINGS, Setting, resolve
from ._diagnosis import Exit

_OURS = __name__.partition(".")[0]


def settings() -> list[dict[str, str]]:
    """Every setting once, its value as it may be shown, and where it comes from."""
    by_name = {setting.argument: setting for setting in (*EXPORTER_SETTINGS, *PROCESSOR_SETTINGS)}
    return [
        {"setting": name, "value": _shown(setting, found.value), "source": found.source}
        for name, setting in by_name.items()
        for found in [resolve(setting)]
    ]


def _shown(setting: Setting, value: Any) -> str:
    mask: Callable[[Any], str] = _MASKS.get(setting.argument, str)
    if value is None:
        return "off" if setting.argument == "start_delay_millis" else "not set"
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else mask(value)


def without_password(url: str) -> str:
    """`url` less the name and password that may stand in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


# Not even the end of a key is shown: its length tells a cut or doubled one.
_MASKS: dict[str, Callable[[Any], str]] = {
    "api_key": lambda key: f"({len(key)} characters)",
    "headers": lambda headers: ", ".join(f"{name}=(hidden)" for name in headers) or "none",
    "endpoint": without_password,
}


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The report for people; its last line is the verdict."""
    yield from _columns([(row["setting"], row["value"], row["source"]) for row in report["settings"]])
    yield from (f"! {text}" for text in report["warnings"])
    yield ""
    yield from _columns([(row["name"], row["version"], row["hint"]) for row in report["installed"]])
    yield ""
    yield from (f"+ {step}" for step in report["steps"])
    yield f"{'=' if report['status'] == Exit.OK else '-'} {report['verdict']}"


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    for first, second, third in rows:
        yield f"  {first:{widths[0]}}  {second:{widths[1]}}  {third}".rstrip()


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """What our own code would say in the log, meanwhile, each once."""
    said: list[str] = []
    logger = logging.getLogger(_OURS)
    handler, logger.propagate, before = _Collecting(said), False, logger.propagate
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


class _Collecting(logging.Handler):
    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() not in self._into:
            self._into.append(record.getMessage())
