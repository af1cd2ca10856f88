"""`make test-matrix`: set-up under every SDK and interpreter that we support, with and without opentelemetry-distro.

`matrix.py [NAME ...]` runs only those cells; environments are kept in .matrix for the next time. An interpreter that
this machine does not have is listed and passed over.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENTS = ROOT / ".matrix"

# The first one is the floor of pyproject.toml; None is whatever is newest. Instrumentation has the number 21 higher.
FLOOR, MIDDLE, NEWEST = 36, 40, None
TESTS = (
    "test_configure.py",
    "test_propagator.py",
    "test_zero_code.py",
    "test_check.py",
    "test_processor.py",
    "zero_code",
)
TOOLS = ("pytest>=8.3", "pytest-timeout>=2.3", "hypothesis>=6.100")


class Cell(NamedTuple):
    """One environment."""

    python: str
    minor: int | None
    has_distro: bool

    @property
    def name(self) -> str:
        sdk = "newest" if self.minor is None else f"1.{self.minor}"
        return f"{self.python}-sdk{sdk}{'-distro' if self.has_distro else ''}"

    @property
    def packages(self) -> list[str]:
        """Pinned, but for the newest."""
        sdk, contrib = ("", "") if self.minor is None else (f"==1.{self.minor}.0", f"==0.{self.minor + 21}b0")
        return [
            f"opentelemetry-sdk{sdk}",
            f"opentelemetry-instrumentation{contrib}",
            f"opentelemetry-instrumentation-asgi{contrib}",
            f"opentelemetry-instrumentation-httpx{contrib}",
            *([f"opentelemetry-distro{contrib}"] if self.has_distro else []),
            *(["opentelemetry-configuration"] if self.has_distro and self.minor is None else []),
        ]


CELLS = [
    Cell(python, minor, has_distro)
    for python, minor in (("3.10", FLOOR), ("3.11", MIDDLE), ("3.12", NEWEST), ("3.13", NEWEST))
    for has_distro in (False, True)
]


def interpreter(version: str) -> str | None:
    """Where this machine has Python `version`, if it does."""
    found = sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python")))
    if found:
        return found[-1]  # pyenv's own shims are on the PATH whether or not the version is chosen
    return shutil.which(f"python{version}")


def python_of(cell: Cell, base: str) -> Path:
    """The interpreter of the cell's environment, made now unless it is there."""
    directory = ENVIRONMENTS / cell.name
    python, stamp = directory / "bin" / "python", directory / "stamp"
    wanted = "\n".join([base, *cell.packages, *TOOLS, (ROOT / "pyproject.toml").read_text()])
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([base, "-m", "venv", "--clear", str(directory)], check=True)
        install: list[str | Path] = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*install, *cell.packages, *TOOLS, "--editable", f"{ROOT}[server]"], check=True)
        stamp.write_text(wanted)
    return python


def main(names: list[str]) -> int:
    """Run the cells, and say which failed; the number of failures."""
    results = {}
    for cell in CELLS:
        if names and cell.name not in names:
            continue
        base = interpreter(cell.python)
        if base is None:
            results[cell.name] = "no such interpreter"
            continue
        print(f"== {cell.name}", flush=True)
        command: list[str | Path] = [python_of(cell, base), "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
        tests = [str(ROOT / "tests" / name) for name in TESTS]
        done = subprocess.run([*command, *tests], cwd=ROOT, check=False)
        results[cell.name] = "passed" if done.returncode == 0 else "FAILED"
    print("\n".join(f"{result:20} {name}" for name, result in results.items()))
    failed = sum(result == "FAILED" for result in results.values())
    print(f"{sum(result == 'passed' for result in results.values())} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
