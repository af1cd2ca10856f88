"""JSON in and out: orjson, and the standard library for the few values that orjson would change or refuse."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import orjson

from .refusal import invalid, problem

# orjson makes a float of an integer beyond 64 bits, which has 19 digits or more. A search for one that a regular
# expression would do takes ten times as long.
_ALL_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19


def decode(body: bytes) -> Any:
    """The value of `body`, integers exact at any size; refused with 422 when it is not JSON."""
    if _LONG_NUMBER in body.translate(_ALL_ZEROS):
        return _decode_slowly(body)
    try:
        return orjson.loads(body)
    except ValueError:
        # Perhaps a lone surrogate: valid JSON that orjson refuses. What becomes of it is for the stores to say.
        return _decode_slowly(body)


def _decode_slowly(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        where = getattr(error, "pos", 0)
        raise invalid([problem("json_invalid", ("body", where), "JSON decode error", {})]) from None


def encode(value: Any) -> bytes:
    """Compact JSON; a lone surrogate is passed on as it is."""
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits, a lone surrogate, or nesting deeper than orjson writes
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
