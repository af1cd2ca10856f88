"""The spans of a trace as the lines of a tree."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

Span = dict[str, Any]


class Line(NamedTuple):
    """A span in its place in the tree: the branch and name, the state, and what else there is to say."""

    span: Span
    name: str
    state: str
    words: str


def lines(trace: Sequence[Span]) -> Iterator[Line]:
    """The spans of a trace, parents before children, the oldest first; each once, whatever the parents say."""
    known = {span["id"] for span in trace}
    children: dict[str | None, list[Span]] = defaultdict(list)
    for span in sorted(trace, key=lambda span: _time(span["start_timestamp"])):
        children[span["parent_id"] if span["parent_id"] in known else None].append(span)
    waiting = [(root, "", "") for root in reversed(children.pop(None, []))]
    while waiting or children:
        if not waiting:  # only parents are left that are each other's children
            waiting = [(span, "", "") for span in reversed(children.pop(next(iter(children))))]
        span, branch, indent = waiting.pop()
        yield Line(span, printable(branch + span["name"]), _state(span), printable(_words(span)))
        below = children.pop(span["id"], [])
        last = below[-1] if below else None
        waiting += [
            (child, indent + ("└─ " if child is last else "├─ "), indent + ("   " if child is last else "│  "))
            for child in reversed(below)
        ]


def is_open(span: Span) -> bool:
    return span["end_timestamp"] is None


def printable(text: str) -> str:
    """Without what would move the cursor, or change what the terminal does next."""
    return "".join(character if character.isprintable() else " " for character in text)


def _state(span: Span) -> str:
    end = datetime.now(timezone.utc) if is_open(span) else _time(span["end_timestamp"])
    seconds = (end - _time(span["start_timestamp"])).total_seconds()
    sign = "●" if is_open(span) else {"ERROR": "✕", "CANCELED": "⊘"}.get(span["status"], "✓")
    return f"{sign} {seconds:.2f} s"


def _words(span: Span) -> str:
    """The error, or tokens and what was said, or else the question or the result in short."""
    given, output, metadata = span["input"] or {}, span["output"] or {}, span["metadata"] or {}
    if span["status"] == "ERROR":
        return f"{metadata.get('error_type') or 'error'}: {metadata.get('error_message') or ''}"
    counts = [span.get(name) or _reported(output, name) for name in ("input_tokens", "output_tokens")]
    tokens = f"{counts[0]} in, {counts[1]} out  " if any(counts) else ""
    plain = {key: value for key, value in output.items() if key not in ("usage", "content", "messages", "tool_calls")}
    called = [_name(call) for call in _listed(output.get("tool_calls")) if isinstance(call, dict)]
    said = output.get("content") or _last_said(output) or (called and f"→ {', '.join(called)}") or plain
    said = said or _last_said(given) or ""
    return tokens + (said if isinstance(said, str) else json.dumps(said, ensure_ascii=False))[:300]


def _reported(output: dict[str, Any], name: str) -> Any:
    """Legacy accounts count no tokens, but keep what was reported."""
    usage = output.get("usage")
    return usage.get(name) or 0 if isinstance(usage, dict) else 0


def _name(call: dict[str, Any]) -> str:
    function = call.get("function")
    return str(function.get("name") if isinstance(function, dict) else call.get("name"))


def _last_said(payload: dict[str, Any]) -> Any:
    messages = _listed(payload.get("messages"))
    return messages[-1].get("content") if messages and isinstance(messages[-1], dict) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _time(timestamp: str) -> datetime:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
