"""A trace tree drawn from SGP's rows: redrawn in place on a terminal, appended line by line everywhere else."""

from __future__ import annotations

import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

Span = dict[str, Any]

LABEL, STATE = 32, 17  # columns
GREEN, YELLOW, RED, PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"


class Screen:
    """Draws the whole tree again whenever it is shown, over what it drew before."""

    def __init__(self) -> None:
        self._drawn_lines = 0

    def show(self, spans: list[Span]) -> None:
        size = shutil.get_terminal_size()
        lines = []
        # A line that wraps, or more lines than the terminal is high, could not be drawn over.
        for label, span in list(branches(spans))[-size.lines + 2 :]:
            line = _line(label, span)[: size.columns - 1]
            colour = YELLOW if is_running(span) else RED if span["status"] == "ERROR" else GREEN
            lines.append(line[:LABEL] + colour + line[LABEL : LABEL + STATE] + PLAIN + line[LABEL + STATE :])
        if self._drawn_lines:
            sys.stdout.write(f"\x1b[{self._drawn_lines}F\x1b[J")
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()
        self._drawn_lines = len(lines)

    def close(self, spans: list[Span]) -> None:
        self.show(spans)


class Log:
    """Says once that a span runs and once that it has ended; shows the tree only when all is over."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._running: dict[str, bool] = {}

    def show(self, spans: list[Span]) -> None:
        for label, span in branches(spans):
            if self._running.get(span["id"]) != is_running(span):
                self._running[span["id"]] = is_running(span)
                indented = " " * (len(label) - len(span["name"])) + span["name"]
                seconds = time.monotonic() - self._began
                print(f"{seconds:6.2f} s  {_line(indented, span)}", flush=True)

    def close(self, spans: list[Span]) -> None:
        self.show(spans)
        print()
        for label, span in branches(spans):
            print(_line(label, span))


def branches(spans: list[Span]) -> Iterator[tuple[str, Span]]:
    """Every span with its branch of the tree as a label: parents before children, the oldest first."""
    known = {span["id"] for span in spans}
    children: dict[str | None, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=started_at):
        children[span["parent_id"] if span["parent_id"] in known else None].append(span)
    for root in children[None]:
        yield root["name"], root
        yield from _below(root, children, "")


def _below(parent: Span, children: dict[str | None, list[Span]], indent: str) -> Iterator[tuple[str, Span]]:
    siblings = children[parent["id"]]
    for span in siblings:
        last = span is siblings[-1]
        yield f"{indent}{'└─ ' if last else '├─ '}{span['name']}", span
        yield from _below(span, children, indent + ("   " if last else "│  "))


def is_running(span: Span) -> bool:
    return span["end_timestamp"] is None


def started_at(span: Span) -> datetime:
    return _time(span["start_timestamp"])


def _line(label: str, span: Span) -> str:
    return f"{label[: LABEL - 1]:<{LABEL}}{_state(span):<{STATE}}{span['type']:<19}{_content(span)}".rstrip()


def _state(span: Span) -> str:
    end = datetime.now(timezone.utc) if is_running(span) else _time(span["end_timestamp"])
    seconds = (end - started_at(span)).total_seconds()
    return f"● running {seconds:.1f} s" if is_running(span) else f"{seconds:.2f} s"


def _content(span: Span) -> str:
    """A little of what the row holds: a model's tokens, an agent's question, or the output."""
    payload, output = span["input"] or {}, span["output"] or {}
    if usage := output.get("usage"):
        return f"{usage['input_tokens']} + {usage['output_tokens']} tokens"
    if messages := payload.get("messages"):
        return str(messages[0]["content"])
    return " ".join(f"{key}={value}" for key, value in output.items())


def _time(timestamp: str) -> datetime:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
