"""docs/traps.md: every trap has an answer, and every test that it names is there."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "traps.md").read_text()
TESTS = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


class Row(NamedTuple):
    number: str
    trap: str
    answer: str


ROWS = [
    Row(*(cell.strip() for cell in line.strip("|").split("|")))
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| number"))
]


@cache
def names_in(path: str) -> set[str]:
    """The names of the tests in a file, those in classes included."""
    body = ast.parse((ROOT / path).read_text()).body
    parts = [body, *(node.body for node in body if isinstance(node, ast.ClassDef))]
    return {node.name for part in parts for node in part if isinstance(node, ast.FunctionDef)}


def test_all_traps_are_there_once_in_order() -> None:
    """One to fifty, two more of the stock processor, our own, and the lines of the failure policy."""
    numbers = [row.number for row in ROWS]
    policy = [number for number in numbers if number.startswith("P")]
    assert numbers == [*(str(number) for number in range(1, 56)), *policy]
    assert policy == [f"P{number}" for number in range(1, 13)]


@pytest.mark.parametrize("row", ROWS, ids=[row.number for row in ROWS])
def test_every_trap_is_answered_with_a_test_or_a_sentence(row: Row) -> None:
    """And is told in a few words."""
    assert 0 < len(row.trap) <= 160
    said = re.sub(r"`tests/[^`]+`,?", "", row.answer).strip()
    assert "`tests/" in row.answer or (len(said.split()) >= 5 and said.endswith("."))
    assert not said or (said.endswith(".") and said[0] not in ",.;")


@pytest.mark.parametrize(("path", "name"), sorted(set(TESTS)))
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    """Where it is said to be."""
    assert name in names_in(path)


def test_nothing_that_looks_like_a_test_is_written_otherwise() -> None:
    """Else the test above would not see it."""
    assert sum(row.answer.count("tests/") for row in ROWS) == len(TESTS)
