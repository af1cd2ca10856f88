"""The map of STYLE.md and CONTRIBUTING.md, held: a module imports only from rows below its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "otel_sgp_exporter"

# From the top down. devserver/ stands apart: an imitation of the server must be able to disagree with our client.
ROWS = (
    ("_cli",),
    ("_check", "_replay", "_tail", "gateway", "testing"),
    ("__init__",),
    ("_hook",),
    ("_zero_code",),
    ("_configure", "_handoff"),
    ("_attach",),
    ("_exporter", "_processor"),
    ("_joining", "_token"),
    ("_pipeline", "_metrics", "_selection"),
    ("_senders",),
    ("_turns",),
    ("_guard",),
    ("_state", "_journal"),
    ("_rescue",),
    ("_delivery", "_spool"),
    ("_lanes", "_ledger", "_gate", "_window", "_open_spans", "_isolation", "_repair", "_wire", "_transport"),
    ("_mapping", "_queue", "_connections"),
    ("_config", "_record", "_outcome", "_process", "_propagator", "_environment", "_version"),
    ("_parse", "_custody", "_joined", "_temporal", "_latch"),
)
MAX_LINES = 300


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The name on the map: a module's own, or its folder's."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    depth = len(path.relative_to(PACKAGE).parts)
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [f"{PACKAGE.name}.{node.module or alias.name}" for alias in node.names]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith(f"{PACKAGE.name}.")}
    return parts


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_rows_below_its_own(path: Path) -> None:
    """The package has layers, and nothing reaches up or sideways; devserver imports nothing of ours."""
    part = part_of(path)
    if part == "devserver":
        allowed = {"devserver"}
    else:
        row = next(number for number, row in enumerate(ROWS) if part in row)
        allowed = {part, *(name for below in ROWS[row + 1 :] for name in below)}
    if part == "_cli":
        allowed.add("devserver")
    assert imported_parts(path) <= allowed


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    """A file of more than 300 lines has a stage hiding in it."""
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_only_config_reads_the_environment() -> None:
    """One table of settings, one place that looks them up."""

    def reads_environment(path: Path) -> bool:
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        return bool(names & {"environ", "getenv"})

    assert {part_of(path) for path in modules() if reads_environment(path)} == {"_config"}
