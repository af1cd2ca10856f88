"""A vendor's distro, under the loader, with `sgp,otlp`: both get theirs, whoever builds exporters first."""

import os
import subprocess
import sys

import beside

from support import settings

TWO_SPANS = """
from opentelemetry import trace
tracer = trace.get_tracer("agent")
with tracer.start_as_current_span("parent"), tracer.start_as_current_span("child"):
    pass
"""
LOADER = [sys.executable, "-c", "from opentelemetry.instrumentation.auto_instrumentation import run; run()"]

collector = beside.Collector()
variables = {
    **{f"OTEL_EXPORTER_SGP_{name.upper()}": value for name, value in settings(beside.sgp.url).items()},
    "OTEL_TRACES_EXPORTER": "sgp,otlp",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_TRACES_SAMPLER": "always_on",  # that of AWS asks a service
    "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
}
done = subprocess.run(
    [*LOADER, sys.executable, "-c", TWO_SPANS],
    env={**os.environ, **variables},
    capture_output=True,
    text=True,
    timeout=60,
)
print(done.stdout, done.stderr)
assert done.returncode == 0
beside.assert_sgp_got_both()
assert sorted(collector.names) == ["child", "parent"], f"the vendor got {collector.names}"
