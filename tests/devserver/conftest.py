"""Servers for the tests: an empty one under each profile, or one built to order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sgp_client import Sgp


@pytest.fixture(scope="session")
def started_servers() -> Iterator[dict[str, Sgp]]:
    with Sgp(profile="legacy") as legacy, Sgp(profile="tracing-pg") as tracing:
        yield {"legacy": legacy, "tracing-pg": tracing}


@pytest.fixture(params=["legacy", "tracing-pg"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sgp(profile: str, started_servers: dict[str, Sgp]) -> Sgp:
    """An empty server with default settings, under each of the two profiles."""
    sgp = started_servers[profile]
    sgp.server.clear()
    return sgp


@pytest.fixture
def serve() -> Iterator[Callable[..., Sgp]]:
    """Start a server with the settings given; it stops with the test."""
    with ExitStack() as servers:
        yield lambda **settings: servers.enter_context(Sgp(**settings))
