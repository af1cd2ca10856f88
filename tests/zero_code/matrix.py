"""`make test-matrix`: set-up under every SDK and interpreter that we support, with and without opentelemetry-distro.

`matrix.py [NAME ...]` runs only those cells; environments are kept in .matrix for the next time. An interpreter that
this machine does not have is listed and passed over, but no SDK is: another interpreter takes it.

`matrix.py --ci` is for after `make check`, whose own environment is the newest SDK without a distro: it leaves out the
cells like that one, and the middle SDK without a distro.
"""

from __future__ import annotations

import glob
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENTS = ROOT / ".matrix"

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# The floor of pyproject.toml, the first one that reads configuration files, and whatever is newest. Instrumentation has
# the number 21 higher.
FLOOR, MIDDLE, NEWEST = 36, 43, None
TESTS = (
    "test_configure.py",
    "test_propagator.py",
    "test_zero_code.py",
    "test_check.py",
    "test_processor.py",
    "zero_code",
)
AT_ONCE = 2  # cells; most of their time goes to starting processes
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
            f"opentelemetry-sdk{'[file-configuration]' if self.minor == MIDDLE else ''}{sdk}",
            f"opentelemetry-instrumentation{contrib}",
            f"opentelemetry-instrumentation-asgi{contrib}",
            f"opentelemetry-instrumentation-httpx{contrib}",
            *([f"opentelemetry-distro{contrib}"] if self.has_distro else []),
            *(["opentelemetry-configuration"] if self.has_distro and self.minor is None else []),
        ]


def cells(pythons: Sequence[str]) -> Iterator[Cell]:
    """Every SDK, and every one of `pythons`, each with and without the distro."""
    sdks = (FLOOR, MIDDLE, *[NEWEST] * max(1, len(pythons) - 2))
    for minor, python in zip(sdks, itertools.cycle(pythons), strict=False):
        yield from (Cell(python, minor, has_distro) for has_distro in (False, True))


def is_for_ci(cell: Cell) -> bool:
    """Whether `make check` leaves it worth the time."""
    return cell.has_distro or cell.minor == FLOOR


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


def main(chosen: list[str]) -> int:
    """Run the cells, and say which failed; the number of failures."""
    interpreters = {python: where for python in PYTHONS if (where := interpreter(python))}
    wanted = [
        cell
        for cell in cells([*interpreters])
        if (is_for_ci(cell) if chosen == ["--ci"] else not chosen or cell.name in chosen)
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        passed = list(pool.map(lambda cell: passes(cell, python_of(cell, interpreters[cell.python])), wanted))
    results = {cell.name: good for cell, good in zip(wanted, passed, strict=True)}
    lines = [f"{'passed' if good else 'FAILED':16} {name}" for name, good in results.items()]
    print("\n".join(lines + [f"not installed    {python}" for python in PYTHONS if python not in interpreters]))
    failed = sum(not good for good in results.values())
    print(f"{len(results) - failed} passed, {failed} failed")
    return failed or not results


def passes(cell: Cell, python: Path) -> bool:
    """Whether the tests pass in the cell's environment. What they say is printed when they are done."""
    command: list[str | Path] = [python, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    tests = [ROOT / "tests" / name for name in TESTS]
    done = subprocess.run(
        [*command, *tests], cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(f"== {cell.name}\n{done.stdout}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
