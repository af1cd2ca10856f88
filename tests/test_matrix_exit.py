"""The scripts of `test_exit` on every interpreter from 3.10 to 3.13 that this machine has.

Exit is where the versions differ: 3.12 starts no threads any more once it leaves, and until 3.12 the children of
multiprocessing leave without exit hooks.
"""

import fcntl
import functools
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import StubServer
from test_exit import EXITS, check

REPOSITORY = Path(__file__).parents[1]
OWN_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
VERSIONS = [version for version in ("3.10", "3.11", "3.12", "3.13") if version != OWN_VERSION]


def interpreter(version: str) -> Path | None:
    """A Python of this version, from pyenv or the path."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)
    on_path = shutil.which(f"python{version}")
    for candidate in [*pyenv, *([Path(on_path)] if on_path else [])]:
        # A shim of pyenv is on the path also for a version that is not switched on: it has to start.
        command = [candidate, "-c", "import sys, ensurepip; print(sys.version)"]
        asked = subprocess.run(command, capture_output=True, text=True)
        if asked.stdout.startswith(f"{version}."):
            return candidate
    return None


@functools.cache
def installed(version: str) -> Path | str:
    """The Python of an environment with this package and its core dependencies only, kept between runs; or why not."""
    base = interpreter(version)
    if base is None:
        return f"there is no Python {version} here"
    directory = REPOSITORY / ".venv" / "matrix" / version
    python, stamp = directory / "bin" / "python", directory / "stamp"
    wanted = hashlib.sha256((REPOSITORY / "pyproject.toml").read_bytes() + str(base).encode()).hexdigest()
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:  # two runs at once must not build one environment
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run([base, "-m", "venv", directory], check=True, capture_output=True)
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", REPOSITORY]
            done = subprocess.run(install, capture_output=True, text=True)
            if done.returncode:
                return f"cannot install for Python {version}: {done.stderr[-500:]}"
            stamp.write_text(wanted)
    return python


@pytest.mark.parametrize("name", EXITS)
@pytest.mark.parametrize("version", VERSIONS)
def test_exit(tmp_path: Path, server: StubServer, version: str, name: str) -> None:
    """The table of exits holds, word for word, on the other versions."""
    python = installed(version)
    if isinstance(python, str):
        pytest.skip(python)
    check(tmp_path, server, name, python)
