"""The two ways to show trees: drawn over and over on a terminal, line by line into anything else."""

from __future__ import annotations

import shutil
import unicodedata
from datetime import datetime
from typing import Protocol, TextIO

from ._tree import Line, Span, is_open, lines

_STATE_COLUMNS, _NAME_COLUMNS = 11, 44
_RED, _GREEN, _YELLOW, _DIM, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[0m"


class View(Protocol):
    """Shows what a poll found."""

    def show(self, settled: list[list[Span]], live: list[list[Span]]) -> None: ...


class Screen:
    """On a terminal: settled traces scroll away, the others are drawn again in place below them."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._drawn_lines = 0

    def show(self, settled: list[list[Span]], live: list[list[Span]]) -> None:
        columns, height = shutil.get_terminal_size()
        columns, height = columns or 80, height or 24  # Python 3.10 believes a terminal that says it has none
        if self._drawn_lines:
            self._out.write(f"\x1b[{self._drawn_lines}F\x1b[J")
        for trace in settled:
            self._out.writelines(_coloured(line, columns - 1) + "\n" for line in lines(trace))
        # What is drawn again must fit: a line that has scrolled away cannot be drawn over.
        drawn = [line for trace in live for line in lines(trace)][-height + 2 :]
        self._out.writelines(_coloured(line, columns - 1) + "\n" for line in drawn)
        self._out.flush()
        self._drawn_lines = len(drawn)


class Log:
    """Into a file or a pipe: a line when a span is first seen, and one when it has ended."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._seen: dict[tuple[str, str], bool] = {}

    def show(self, settled: list[list[Span]], live: list[list[Span]]) -> None:
        for trace in settled + live:
            for line in lines(trace):
                key = (line.span["trace_id"], line.span["id"])
                if self._seen.get(key) != is_open(line.span):
                    self._seen[key] = is_open(line.span)
                    self._out.write(f"{datetime.now():%H:%M:%S}  {''.join(_texts(line)).rstrip()}\n")
        for trace in settled:
            for span in trace:
                self._seen.pop((span["trace_id"], span["id"]), None)
        self._out.flush()


def _texts(line: Line) -> tuple[str, str, str]:
    return _padded(line.name, _NAME_COLUMNS), _padded(line.state, _STATE_COLUMNS), line.words


def _coloured(line: Line, columns: int) -> str:
    colour = _YELLOW if is_open(line.span) else {"ERROR": _RED, "CANCELED": _YELLOW}.get(line.span["status"], _GREEN)
    name, state, words = _texts(line)
    room = columns - _NAME_COLUMNS - _STATE_COLUMNS
    if room < 0:
        return _padded(name, columns)
    tint = _RED if line.span["status"] == "ERROR" else _DIM
    return f"{name}{colour}{state}{tint}{_padded(words, room).rstrip()}{_PLAIN}"


def _padded(text: str, columns: int) -> str:
    """Exactly so many columns of a terminal; wide characters take two."""
    kept, used = "", 0
    for character in text:
        width = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if unicodedata.combining(character):
            width = 0
        if used + width > columns - 1:
            kept, used = f"{kept}…", used + 1
            break
        kept, used = kept + character, used + width
    return kept + " " * (columns - used)
