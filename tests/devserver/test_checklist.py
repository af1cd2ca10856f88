"""Every item of the conformance checklist is held by a test that names it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ITEMS = range(1, 57)


def named(docstring: str) -> set[int]:
    """The items of "Item 5", "Items 5 and 6", "Items 5, 6 to 8"."""
    found: set[int] = set()
    for text in re.findall(r"[Ii]tems? (\d+(?:(?:, | and | to )\d+)*)", docstring):
        found |= {int(number) for number in re.findall(r"\d+", text)}
        for first, last in re.findall(r"(\d+) to (\d+)", text):
            found |= set(range(int(first), int(last)))
    return found


def test_every_item_is_held() -> None:
    """By the docstring of a test function, not of its file."""
    held: set[int] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                held |= named(ast.get_docstring(node) or "")
    assert sorted(set(ITEMS) - held) == []
