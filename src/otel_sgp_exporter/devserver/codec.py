"""JSON in and out: orjson, and the standard library for the few values that orjson would change or refuse."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import orjson

from .refusal import invalid, problem

_LONG_NUMBER = re.compile(rb"[0-9]{19}")


def decode(body: bytes) -> Any:
    """The value of `body`, integers exact at any size; refused with 422 when it is not JSON."""
    try:
        # orjson makes a float of an integer beyond 64 bits, which has 19 digits or more.
        return json.loads(body, parse_constant=_no_constant) if _LONG_NUMBER.search(body) else orjson.loads(body)
    except (ValueError, RecursionError):
        return _decode_leniently(body)


def _decode_leniently(body: bytes) -> Any:
    # A lone surrogate is valid JSON that orjson refuses; what becomes of it is for the stores to say.
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        where = getattr(error, "pos", 0)
        raise invalid([problem("json_invalid", ("body", where), "JSON decode error", {})]) from None


def encode(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits, or nesting deeper than orjson writes
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
