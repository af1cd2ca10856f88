"""`make test-vendors`: real vendors side by side with us, each in a throw-away environment of its own.

`run.py [NAME ...]` runs only these; environments are kept in .matrix/vendors for the next time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ENVIRONMENTS = ROOT / ".matrix" / "vendors"


class Vendor(NamedTuple):
    """What to install, and the scripts to run with it. A script that ends well has asserted everything itself."""

    packages: tuple[str, ...]
    scripts: tuple[str, ...]
    alone: tuple[str, ...] = ()
    """Installed after the others, without what they require."""


VENDORS = {
    "logfire": Vendor(
        ("logfire",),
        ("with_logfire.py", "with_logfire_scrubbing.py", "with_logfire_tail.py", "with_logfire_logs.py"),
    ),
    "langfuse": Vendor(("langfuse",), ("with_langfuse.py", "with_langfuse_after.py")),
    "phoenix": Vendor(("arize-phoenix-otel",), ("with_phoenix.py",)),
    "openinference": Vendor(
        ("arize-phoenix-otel", "openinference-instrumentation-langchain", "langchain-core"), ("with_openinference.py",)
    ),
    # Without the forty instrumentations that it requires, of which pip finds no versions that agree: with what its own
    # modules import, in versions of one release, which saves pip minutes of searching.
    "traceloop": Vendor(
        (
            *("aiohttp", "colorama", "cuid", "deprecated", "jinja2", "pydantic", "tenacity"),
            *(
                f"opentelemetry-{name}==1.45.1"
                for name in ("sdk", "exporter-otlp-proto-grpc", "exporter-otlp-proto-http")
            ),
            *(f"opentelemetry-instrumentation-{name}==0.66b1" for name in ("logging", "threading", "urllib3")),
            "opentelemetry-semantic-conventions-ai",
        ),
        ("with_traceloop.py", "with_traceloop_after.py"),
        alone=("traceloop-sdk==0.62.4",),
    ),
    # AWS builds exporters before it sets the provider; the others as the SDK does.
    **{
        distro: Vendor((distro, "opentelemetry-exporter-otlp-proto-http"), ("with_distro.py",))
        for distro in ("aws-opentelemetry-distro", "elastic-opentelemetry", "splunk-opentelemetry")
    },
}


def python_with(name: str, vendor: Vendor) -> Path:
    """The interpreter of the environment `name`, made now unless it is there."""
    directory = ENVIRONMENTS / name
    python, stamp = directory / "bin" / "python", directory / "stamp"
    wanted = "\n".join([sys.version, *vendor.packages, *vendor.alone, (ROOT / "pyproject.toml").read_text()])
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(directory, clear=True, with_pip=True)
        install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*install, *vendor.packages, "--editable", str(ROOT)], check=True)
        if vendor.alone:
            subprocess.run([*install, "--no-deps", *vendor.alone], check=True)
        stamp.write_text(wanted)
    return python


def main(names: list[str]) -> int:
    """Run what was asked for; the number of failures."""
    failed = passed = 0
    for name in names or VENDORS:
        python = python_with(name, VENDORS[name])
        for script in VENDORS[name].scripts:
            done = subprocess.run(
                [python, HERE / script],
                env={**os.environ, "OTEL_METRICS_EXPORTER": "none", "NO_PROXY": "127.0.0.1"},
                capture_output=True,
                text=True,
                timeout=120,
            )
            good = done.returncode == 0
            passed, failed = passed + good, failed + (not good)
            print(f"{'PASSED' if good else 'FAILED'} {name}: {script}", flush=True)
            if not good:
                print(done.stdout + done.stderr)
    print(f"{passed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
