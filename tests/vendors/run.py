"""`make test-vendors`: real vendors side by side with us, each in a throw-away environment of its own.

`run.py [NAME ...]` runs only these; environments are kept in .matrix/vendors for the next time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ENVIRONMENTS = ROOT / ".matrix" / "vendors"

# What to install, and the scripts to run with it. A script that ends well has asserted everything itself.
VENDORS = {
    "logfire": (["logfire"], ["with_logfire.py"]),
    "langfuse": (["langfuse"], ["with_langfuse.py", "with_langfuse_after.py"]),
    "phoenix": (["arize-phoenix-otel"], ["with_phoenix.py"]),
    "openinference": (
        ["arize-phoenix-otel", "openinference-instrumentation-langchain", "langchain-core"],
        ["with_openinference.py"],
    ),
    # Its forty packages leave pip so much choice that it gives up, unless it is told one common version.
    "traceloop": (
        ["traceloop-sdk>=0.62", "opentelemetry-sdk==1.39.0", "opentelemetry-instrumentation==0.60b0"],
        ["with_traceloop.py", "with_traceloop_after.py"],
    ),
}


def python_with(name: str, packages: list[str]) -> Path:
    """The interpreter of the environment `name`, made now unless it is there."""
    directory = ENVIRONMENTS / name
    python, stamp = directory / "bin" / "python", directory / "stamp"
    wanted = "\n".join([sys.version, *packages, (ROOT / "pyproject.toml").read_text()])
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(directory, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", *packages, "--editable", str(ROOT)], check=True)
        stamp.write_text(wanted)
    return python


def main(names: list[str]) -> int:
    """Run what was asked for; the number of failures."""
    failed = passed = 0
    for name in names or VENDORS:
        packages, scripts = VENDORS[name]
        python = python_with(name, packages)
        for script in scripts:
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
