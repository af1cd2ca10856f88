"""Bars and lines as SVG, by hand: a few dozen lines instead of a library, and files that can be compared."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, isfinite, isnan, log10
from typing import NamedTuple

WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 760, 190, 70, 56, 26, 18
HEIGHT, BOTTOM = 340, 50
COLOURS = ("#2f6fdb", "#e07b39", "#4c9f70", "#a35fb5", "#c44e52", "#7f7f7f")

Series = Mapping[str, Sequence[float]]


class Plot(NamedTuple):
    """`series` by name: one value for each of `labels` (bars), or for each of `xs` (lines, both axes logarithmic)."""

    title: str
    unit: str
    series: Series
    labels: Sequence[str] = ()
    xs: Sequence[float] = ()
    x_unit: str = ""

    def svg(self) -> str:
        return _lines(self) if self.xs else _bars(self)


def _bars(plot: Plot) -> str:
    values = [value for series in plot.series.values() for value in series if isfinite(value)]
    most = max([*values, 1e-12])
    scale = (WIDTH - LEFT - RIGHT) / most
    parts, y = [], TOP
    for number, label in enumerate(plot.labels):
        parts.append(_text(LEFT - 8, y + BAR * len(plot.series) / 2 + 4, label, "end"))
        for colour, series in zip(COLOURS, plot.series.values(), strict=False):
            width = 0 if not isfinite(series[number]) else max(series[number] * scale, 1)
            parts.append(_rect(LEFT, y, width, BAR - 2, colour))
            parts.append(_text(LEFT + width + 5, y + BAR - 5, _short(series[number]), "start"))
            y += BAR
        y += ROW - BAR
    return _picture(plot, y + 20, parts)


def _lines(plot: Plot) -> str:
    values = [value for series in plot.series.values() for value in series if value > 0]
    bottom, top = floor(log10(min(values))), max(ceil(log10(max(values))), floor(log10(min(values))) + 1)
    first, last = log10(plot.xs[0]), max(log10(plot.xs[-1]), log10(plot.xs[0]) + 1)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (log10(x) - first) / (last - first)
        up = (log10(y) - bottom) / (top - bottom)
        return 80 + across * (WIDTH - 80 - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)

    parts = []
    for exponent in range(bottom, top + 1):
        x, y = at(plot.xs[0], 10.0**exponent)
        parts.append(f'<line x1="{x:.0f}" y1="{y:.0f}" x2="{WIDTH - RIGHT}" y2="{y:.0f}" stroke="#ddd"/>')
        parts.append(_text(x - 8, y + 4, _short(10.0**exponent), "end"))
    for value in plot.xs:
        parts.append(_text(at(value, 10.0**bottom)[0], HEIGHT - BOTTOM + 18, _short(value), "middle"))
    parts.append(_text(WIDTH / 2, HEIGHT - 8, plot.x_unit, "middle"))
    for colour, series in zip(COLOURS, plot.series.values(), strict=False):
        points = [at(x, y) for x, y in zip(plot.xs, series, strict=False) if y > 0]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
    return _picture(plot, HEIGHT, parts)


def _picture(plot: Plot, height: float, parts: Sequence[str]) -> str:
    legend = []
    if len(plot.series) > 1:
        x = 80.0
        for colour, name in zip(COLOURS, plot.series, strict=False):
            legend += [_rect(x, 32, 10, 10, colour), _text(x + 14, 41, name, "start")]
            x += 30 + 7 * len(name)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
            'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            f'<text x="12" y="20" font-size="15" font-weight="600">{escape(f"{plot.title} ({plot.unit})")}</text>',
            *legend,
            *parts,
            "</svg>\n",
        ]
    )


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(value: float) -> str:
    if not isfinite(value):
        return "-" if isnan(value) else "never"
    if value >= 10_000:
        return f"{value / 1000:,.0f}k" if value < 1e6 else f"{value / 1e6:,.3g}M"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
