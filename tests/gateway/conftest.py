"""Gateways for tests, in this process and before a server that remembers everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from otel_sgp_exporter.gateway.serve import Gateway


@pytest.fixture
def gateway_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway that delivers to a URL; stopped after the test."""
    from otlp import Gateway, environment, settings  # skips without the extra

    with ExitStack() as stack:

        def start(sgp_url: str, *arguments: str, **changed: object) -> Gateway:
            for name, value in environment(sgp_url).items():
                monkeypatch.setenv(name, value)
            return stack.enter_context(Gateway(settings(*arguments, **changed)))

        yield start
