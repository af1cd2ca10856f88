"""docs/devserver.md says what is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from otel_sgp_exporter._cli import main
from otel_sgp_exporter.devserver import DevServer, Settings
from otel_sgp_exporter.devserver.faults import Fault

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "devserver.md").read_text()


def test_the_example_runs() -> None:
    """As it stands."""
    [example] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(compile(example, "devserver.md", "exec"), {})


def test_every_field_of_a_fault_is_explained() -> None:
    """And none that there is not."""
    table = PAGE.partition("| field | meaning |")[2].partition("\n\n")[0]
    explained = re.findall(
        r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    )
    assert sorted(explained) == sorted(field.name for field in fields(Fault) if field.init)


def test_every_setting_is_explained() -> None:
    """With its default, and none that there is not."""
    table = PAGE.partition("<!-- settings:")[2].partition("<!-- end of settings -->")[0]
    explained: dict[str, str] = {}
    for line in table.splitlines():
        if line.startswith("| `"):
            _, names, defaults, *_ = line.split("|")
            names = re.findall(r"`(\w+)`", names)
            explained |= zip(names, (defaults.split(", ") if "," in defaults else [defaults] * len(names)), strict=True)
    told = {name: default.strip() for name, default in explained.items()}
    assert told == {field.name: shown(field.default) for field in fields(Settings)}


def shown(default: object) -> str:
    return "" if isinstance(default, tuple) else "none" if default is None else str(default)


def test_every_counter_is_explained() -> None:
    """What the stats have."""
    with DevServer() as server:
        assert set(server.stats("s")) <= set(re.findall(r"`(\w+)`", PAGE.partition("| in the stats |")[2]))


@pytest.mark.parametrize("command", ["serve", "tail"])
def test_every_option_exists(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """What is written as an option of a command is one."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    accepted = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert accepted - {"--account-id"} <= set(re.findall(r"--[a-z-]+", PAGE))


def test_pictures_are_there_and_small() -> None:
    """A README that shows them stays quick to load."""
    for name in re.findall(r"\]\((images/[^)]+)\)", PAGE):
        assert 0 < (DOCS / name).stat().st_size < 200_000
