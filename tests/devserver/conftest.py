"""Servers for the tests of one item: a fresh one under each profile, or one built to order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sgp_client import Sgp


@pytest.fixture(params=["legacy", "tracing-pg"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serve() -> Iterator[Callable[..., Sgp]]:
    """Start a server with the settings given; it stops with the test."""
    with ExitStack() as servers:
        yield lambda **settings: servers.enter_context(Sgp(**settings))


@pytest.fixture
def sgp(profile: str, serve: Callable[..., Sgp]) -> Sgp:
    return serve(profile=profile)


@pytest.fixture(scope="module", params=["legacy", "tracing-pg"])
def shared_sgp(request: pytest.FixtureRequest) -> Iterator[Sgp]:
    """One server for all tests of a module: for requests that leave nothing behind."""
    with Sgp(profile=request.param) as sgp:
        yield sgp
