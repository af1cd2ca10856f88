"""Parsers for the fields of a request: each returns the value it accepts or raises `BadValue`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from .refusal import Location, Problem, problem
from .settings import Settings
from .timestamps import parse_micros

Parser: TypeAlias = Callable[[Any], Any]


class BadValue(ValueError):  # noqa: N818 - a reason to report, not a failure of ours
    """A field's value is refused."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def parse_fields(
    parsers: Mapping[str, Parser],
    given: Any,
    location: Location,
    problems: list[Problem],
    required: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Every field of `parsers`, None where it is absent or null; `problems` gets what was wrong."""
    parsed: dict[str, Any] = dict.fromkeys(parsers)
    if not isinstance(given, Mapping):
        problems.append(problem("model_attributes_type", location, "Input should be a valid dictionary", given))
        return parsed
    for field, value in given.items():
        if field in parsers and (value is not None or field in required):
            try:
                parsed[field] = parsers[field](value)
            except BadValue as bad:
                problems.append(problem(bad.kind, (*location, field), bad.message, value))
    for field in required:
        if field not in given:
            problems.append(problem("missing", (*location, field), "Field required", given))
    return parsed


def string(value: Any) -> str:
    if not isinstance(value, str):
        raise BadValue("string_type", "Input should be a valid string")
    return value


def text(limit: int) -> Parser:
    def parse(value: Any) -> str:
        if len(checked := string(value)) > limit:
            raise BadValue("string_too_long", f"String should have at most {limit} characters")
        return checked

    return parse


def choice(names: Sequence[str]) -> Parser:
    allowed = frozenset(names)
    listed = f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"

    def parse(value: Any) -> Any:
        if not isinstance(value, str) or value not in allowed:
            raise BadValue("enum", f"Input should be {listed}")
        return value

    return parse


def hex_id(length: int, *, zero_allowed: bool = True) -> Parser:
    pattern = re.compile(f"[0-9a-f]{{{length}}}")

    def parse(value: Any) -> Any:
        if not pattern.fullmatch(string(value)):
            raise BadValue("string_pattern_mismatch", f"String should match pattern '^{pattern.pattern}$'")
        if not zero_allowed and value == "0" * length:
            raise BadValue("value_error", "Value error, an all-zero id is not valid")
        return value

    return parse


def mapping(value: Any) -> Any:
    if not isinstance(value, dict):
        raise BadValue("dict_type", "Input should be a valid dictionary")
    return value


def timestamp(settings: Settings) -> Parser:
    """To microseconds since the epoch."""

    def parse(value: Any) -> int:
        try:
            return parse_micros(value, settings)
        except ValueError as error:
            raise BadValue("datetime_from_date_parsing", f"Input should be a valid datetime, {error}") from None

    return parse


def list_of(parse_item: Parser) -> Parser:
    def parse(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise BadValue("list_type", "Input should be a valid list")
        return [parse_item(item) for item in value]

    return parse


def integer(least: int, most: int) -> Parser:
    """Also accepts digits as text, as they come in a query string."""

    def parse(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadValue("int_parsing", "Input should be a valid integer")
        if value < least:
            raise BadValue("greater_than_equal", f"Input should be greater than or equal to {least}")
        if value > most:
            raise BadValue("less_than_equal", f"Input should be less than or equal to {most}")
        return value

    return parse


def number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
        raise BadValue("float_type", "Input should be a valid number, not below 0")
    return value


def boolean(value: Any) -> bool:
    """Also accepts true and false as text, as they come in a query string."""
    if value in (True, "true"):
        return True
    if value in (False, "false"):
        return False
    raise BadValue("bool_parsing", "Input should be a valid boolean")
