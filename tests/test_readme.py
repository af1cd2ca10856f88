"""What the documents say is true: examples run, tables match the code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from otel_sgp_exporter._config import EXPORTER_SETTINGS, PROCESSOR_SETTINGS, Setting
from support import StubServer
from test_architecture import ROWS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SETTINGS = [*EXPORTER_SETTINGS, *(setting for setting in PROCESSOR_SETTINGS if setting not in EXPORTER_SETTINGS)]
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_runs_as_it_stands(example: str, server: StubServer) -> None:
    """A reader may paste it; with nothing but the credentials set, its spans arrive."""
    environment = os.environ | {"SGP_API_KEY": "k", "SGP_ACCOUNT_ID": "a", "SGP_CLIENT_BASE_URL": server.url}
    subprocess.run([sys.executable, "-W", "error", "-c", example], env=environment, check=True, timeout=30)
    assert len(server.items) == 2


def row(setting: Setting) -> str:
    """What the README has to say about `setting`."""
    shown = f"{setting.default:g}" if isinstance(setting.default, float) else str(setting.default or "")
    variables = ", ".join(f"`{variable}`" for variable in setting.variables)
    return f"| `{setting.argument}` | {variables} | {shown} | {setting.meaning} |"


def test_the_settings_table_is_the_one_in_the_code() -> None:
    """Every setting is documented, with its variables, its default and the same sentence."""
    documented = README.partition("|---|---|---|---|\n")[2].partition("<!-- end of settings -->")[0].splitlines()
    expected = [row(setting) for setting in SETTINGS]
    assert expected == documented, "\n".join(expected)


def test_the_map_names_every_module() -> None:
    """CONTRIBUTING.md and the architecture test show the same house."""
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    for part in (part for parts in ROWS for part in parts if part != "_version"):
        assert f"`{part}" in contributing


def test_ci_runs_the_readme_s_command() -> None:
    """One command for people and machines."""
    assert "make check" in README
    assert "make check" in (ROOT / ".ci" / "run").read_text()
