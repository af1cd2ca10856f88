"""What a workload found, as a Markdown table with a title and a few words."""

from collections.abc import Mapping, Sequence
from math import isinf, isnan
from typing import NamedTuple

from plots import Plot

Value = str | float | int | None


class Section(NamedTuple):
    """One table: `columns` name the values of each row, the first of which is what the row is about."""

    title: str
    words: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    plots: Mapping[str, Plot]
    """By file name, without suffix."""

    def text(self, plots_in: str = "") -> str:
        """Markdown, with its plots if they lie in a directory."""
        pictures = [f"![{plot.title}]({plots_in}/{name}.svg)" for name, plot in self.plots.items()] if plots_in else []
        return "\n\n".join([f"## {self.title}", self.words, table(self.columns, self.rows), *pictures])


def table(columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> str:
    """Aligned, so that it reads well in a terminal, too."""
    cells = [list(columns), *([shown(value) for value in row] for row in rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(columns))]
    head, *body = (_line(row, widths) for row in cells)
    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
    return "\n".join([head, rule, *body])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(row, widths, strict=True)
    return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]) + " |"


def shown(value: Value) -> str:
    """Three digits that matter."""
    if value is None or (isinstance(value, float) and isnan(value)):
        return "-"
    if isinstance(value, str):
        return value
    if isinf(value):
        return "never"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
