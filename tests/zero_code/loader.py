"""Programs under the real `opentelemetry-instrument`, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from support import StubServer

HAS_DISTRO = importlib.util.find_spec("opentelemetry.distro") is not None

needs_loader = pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.instrumentation") is None,
    reason="opentelemetry-instrumentation is not installed; `make test-matrix` runs this",
)
needs_entry_points = pytest.mark.skipif(
    not any(point.name == "sgp" for point in entry_points(group="opentelemetry_traces_exporter")),
    reason="the entry points of this package are not installed: pip install -e .",
)
needs_distro = pytest.mark.skipif(
    not HAS_DISTRO, reason="opentelemetry-distro is not installed; `make test-matrix` runs this"
)

TWO_SPANS = """
from opentelemetry import trace
tracer = trace.get_tracer("t")
with tracer.start_as_current_span("parent"), tracer.start_as_current_span("child"):
    pass
"""


def variables(server: StubServer) -> dict[str, str]:
    """Credentials, and silence about metrics and logs, for which the distro would want an OTLP exporter."""
    return {
        "OTEL_EXPORTER_SGP_ENDPOINT": server.url,
        "OTEL_EXPORTER_SGP_API_KEY": "k",
        "OTEL_EXPORTER_SGP_ACCOUNT_ID": "a",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }


def instrumented(
    directory: Path, server: StubServer, script: str = TWO_SPANS, **chosen: str
) -> subprocess.CompletedProcess[str]:
    """Run `script` to its end under the loader. A variable that is `-` is left out."""
    path = directory / "script.py"
    path.write_text(textwrap.dedent(script))
    return subprocess.run(
        [*LOADER, sys.executable, str(path)],
        env=environment({**variables(server), **chosen}),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=directory,
    )


def environment(chosen: Mapping[str, str]) -> dict[str, str]:
    """That of this process and what was chosen, less what is `-`."""
    return {name: value for name, value in {**os.environ, **chosen}.items() if value != "-"}


# The command, without depending on a PATH.
LOADER = [sys.executable, "-c", "from opentelemetry.instrumentation.auto_instrumentation import run; run()"]
