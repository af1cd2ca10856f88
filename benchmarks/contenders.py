"""Rows of a table: a driver with settings, under the name that the table shows."""

from typing import Any, NamedTuple

from drivers import DRIVERS, NAIVE, OTLP, OURS, OURS_ENDS_ONLY, Driver, available
from sizes import Sizes


class Contender(NamedTuple):
    label: str
    driver: str
    settings: tuple[tuple[str, Any], ...] = ()

    def make(self, url: str) -> Driver:
        """In the child process."""
        return DRIVERS[self.driver](url, **dict(self.settings))


def ours(label: str = OURS, **settings: Any) -> Contender:
    return Contender(label, OURS, tuple(settings.items()))


ENDS_ONLY = ours(OURS_ENDS_ONLY, start_delay_millis="off")


def peers(sizes: Sizes) -> list[Contender]:
    """Those that are installed."""
    return [Contender(name, name) for name in sizes.compared if name in DRIVERS and name != OURS and available(name)]


def everybody(sizes: Sizes) -> list[Contender]:
    return [ours(), *peers(sizes)]


def with_ends_only(sizes: Sizes) -> list[Contender]:
    ends_only = [ENDS_ONLY] if ENDS_ONLY.label in sizes.compared else []
    return [ours(), *ends_only, *peers(sizes)]


def span_processors(sizes: Sizes) -> list[Contender]:
    """Those that OpenTelemetry's tracer calls."""
    return [contender for contender in with_ends_only(sizes) if contender.driver in (OURS, OTLP, NAIVE)]
