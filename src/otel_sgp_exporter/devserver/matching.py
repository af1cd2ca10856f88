"""The filters that look inside a document; SQLite calls two of them as functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from .codec import decode

_GROUPS: dict[str, Callable[[Iterable[bool]], bool]] = {"$or": any, "$and": all}
_SAYING = ("name", "group_id", "input", "output", "metadata", "expected")
_PLAIN = re.compile(r"[ !#-\[\]-~]*")  # JSON writes these as they are
_WORDS = re.compile(r"[A-Za-z0-9]+(?: [A-Za-z0-9]+){0,7}")


def metadata_matches(document: bytes, search: str) -> bool:
    """Whether the metadata meets every one of `all` in `search`, the JSON object {all, composed}.

    Each key must have the value wanted, or one of an array of them. With `composed`, `$or` and `$and` hold nested
    groups of such conditions; without, they are keys like any other.
    """
    wanted = _decoded(search)
    metadata = decode(document)["metadata"] or {}
    return all(_meets(metadata, keys, wanted["composed"]) for keys in wanted["all"])


def text_matches(document: bytes, search: str) -> bool:
    """Whether a span matches `search`, the JSON object {terms, trace_ids, fields, compounds}.

    Every term, a {text, quoted}, must occur, case-insensitively: in the name as a substring unless it is quoted, in the
    fields as whole words when it is made of words, else as a substring. With `compounds`, hosts, paths and addresses
    are one word each. A span of one of the trace ids matches whatever the terms.
    """
    wanted = _decoded(search)
    if not wanted["trace_ids"] and not all(may_say(document, term["text"]) for term in wanted["terms"]):
        return False
    span = decode(document)
    if span["trace_id"] in wanted["trace_ids"]:
        return True
    name = span["name"].casefold() if "name" in wanted["fields"] else ""
    values = "\n".join(text for field in wanted["fields"] if field != "name" for text in _texts(span[field]))
    return bool(wanted["terms"]) and all(
        (not term["quoted"] and term["text"].casefold() in name) or _occurs(term["text"], wanted["compounds"])(values)
        for term in wanted["terms"]
    )


def says(document: bytes, text: str) -> bool:
    """Whether the name, the group or any text or key of what the span carries contains `text`, case-insensitively."""
    if not may_say(document, text):
        return False
    wanted = text.casefold()
    span = decode(document)
    return any(wanted in said.casefold() for field in _SAYING for said in _texts(span[field]))


def may_say(document: bytes, text: str) -> bool:
    """False when the text is certain not to be in the document: by far the fastest way to most answers."""
    return not _PLAIN.fullmatch(text) or text.lower().encode() in document.lower()


def _meets(metadata: dict[str, Any], wanted: dict[str, Any], composed: bool) -> bool:
    return all(
        _GROUPS[key](_meets(metadata, group, composed) for group in value)
        if composed and key in _GROUPS
        else key in metadata and _equals_any(metadata[key], value)
        for key, value in wanted.items()
    )


def _equals_any(value: Any, wanted: Any) -> bool:
    return value == wanted or (isinstance(wanted, list) and value in wanted)


def _texts(value: Any) -> Iterator[str]:
    """Every key and every value in it, as it is written; however deep, without recursion."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            for key, below in reversed(item.items()):
                waiting += (below, key)
        elif isinstance(item, list):
            waiting += reversed(item)
        elif item is not None:
            yield str(item)


@lru_cache(maxsize=64)
def _decoded(text: str) -> Any:
    return decode(text.encode())


@lru_cache(maxsize=64)
def _occurs(term: str, compounds: bool) -> Callable[[str], Any]:
    pattern = re.escape(term)
    if _WORDS.fullmatch(term):
        pattern = rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])"
        if compounds:
            pattern = rf"(?<![A-Za-z0-9][./@?]){pattern}(?![./@?][A-Za-z0-9])"
    return re.compile(pattern, re.IGNORECASE).search
