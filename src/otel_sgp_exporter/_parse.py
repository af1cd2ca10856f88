"""Texts and arguments to the values of settings. What cannot be one raises ValueError with the complaint."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

FOR_EVER_MILLIS = 4e9  # 46 days; Windows cannot wait much longer
_HEADER_NAME = re.compile("[!#$%&'*+.^_`|~0-9a-z-]+")


def url(value: Any) -> str:
    try:
        parts = urlsplit(str(value))
        is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, a bracket too many
        is_one = False
    if not is_one or not str(value).isprintable() or set(str(value)) & set(" ?#"):
        raise ValueError("must be an http:// or https:// URL.")
    return str(value).rstrip("/")


def token(value: Any) -> str:
    """`value` when it can stand in a header; raises ValueError without repeating it."""
    if not isinstance(value, str) or not all(" " < character <= "~" for character in value):
        raise ValueError("must be printable ASCII without spaces.")
    return value


def key(value: Any) -> str | Callable[[], str]:
    return value if callable(value) else token(value)


def headers(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif not isinstance(value, str):
        raise ValueError("must be a mapping, or k=v,k2=v2.")
    elif ":" in value.partition("=")[0]:  # the official client's form: one `Key: value` per line
        pairs = [line.partition(":")[::2] for line in value.splitlines() if line.strip()]
    else:  # OpenTelemetry's form: k=v,k2=v2
        pairs = [unquote(pair).partition("=")[::2] for pair in value.split(",") if pair.strip()]
    found = {str(name).strip().lower(): str(text).strip() for name, text in pairs}
    if not all(_HEADER_NAME.fullmatch(name) and text.isprintable() and text.isascii() for name, text in found.items()):
        raise ValueError("must be k=v,k2=v2 in printable ASCII.")
    return found


def number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError("must be a number.")
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("must be a number.") from None
    if found - found != 0:
        raise ValueError("must be a finite number.")
    return found


def millis(value: Any) -> float:
    """A positive number; what is longer than locks can wait means for ever, and is cut to that."""
    return min(positive(value), FOR_EVER_MILLIS)


def positive(value: Any) -> float:
    found = number(value)
    if found <= 0:
        raise ValueError("must be positive.")
    return found


def count(value: Any) -> int:
    found = number(value)
    if found <= 0 or found != int(found):
        raise ValueError("must be a positive integer.")
    return int(found)


def delay(value: Any) -> float | None:
    if value is None or str(value).strip().lower() == "off":
        return None
    found = number(value)
    if found < 0:
        raise ValueError("must be a number of milliseconds, at least 0, or 'off'.")
    return min(found, FOR_EVER_MILLIS)


def compression(value: Any) -> str:
    if str(value).lower() not in ("none", "gzip"):
        raise ValueError("must be 'none' or 'gzip'.")
    return str(value).lower()


def flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() not in ("true", "false"):
        raise ValueError("must be true or false.")
    return str(value).lower() == "true"


def remote_parent(value: Any) -> str:
    if str(value).lower() not in ("auto", "link", "root"):
        raise ValueError("must be 'auto', 'link' or 'root'.")
    return str(value).lower()


def directory(value: Any) -> str:
    try:
        return os.fsdecode(value)
    except TypeError:
        raise ValueError("must be a path.") from None


def function(name: str, value: Any) -> Any:
    """`value` of the argument `name`, which has no variable."""
    if value is not None and not callable(value):
        raise ValueError(f"{name} must be callable.")
    return value
