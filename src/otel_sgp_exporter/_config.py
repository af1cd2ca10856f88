"""Every setting, once: argument, variables, default, what is allowed. Nothing else reads the environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

_logger = logging.getLogger(__package__)

MAX_BATCH_RECORDS = 1000  # the server refuses more
_MIB = 1024 * 1024


class Unset(Enum):
    """The default of an argument for which None means something."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


class Setting(NamedTuple):
    """One setting. `parse` turns text or an argument into the value and raises ValueError with the complaint."""

    argument: str
    variables: tuple[str, ...]
    default: Any
    parse: Callable[[Any], Any]
    meaning: str


def _url(value: Any) -> str:
    parts = urlsplit(str(value))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// URL.")
    return str(value).rstrip("/")


def checked_token(value: Any) -> str:
    """`value` when it can stand in a header; raises ValueError without repeating it."""
    if not isinstance(value, str) or not all(" " < character <= "~" for character in value):
        raise ValueError("must be printable ASCII without spaces.")
    return value


def _key(value: Any) -> str | Callable[[], str]:
    return value if callable(value) else checked_token(value)


def _headers(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif ":" in value.partition("=")[0]:  # the official client's form: one `Key: value` per line
        pairs = [line.partition(":")[::2] for line in value.splitlines() if line.strip()]
    else:  # OpenTelemetry's form: k=v,k2=v2
        pairs = [unquote(pair).partition("=")[::2] for pair in value.split(",") if pair.strip()]
    headers = {str(name).strip().lower(): str(text).strip() for name, text in pairs}
    if not all(name and f"{name}{text}".isprintable() and f"{name}{text}".isascii() for name, text in headers.items()):
        raise ValueError("must be k=v,k2=v2 in printable ASCII.")
    return headers


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError("must be a number.")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError("must be a number.") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError("must be a finite number.")
    return number


def _positive(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError("must be positive.")
    return number


def _count(value: Any) -> int:
    number = _number(value)
    if number <= 0 or number != int(number):
        raise ValueError("must be a positive integer.")
    return int(number)


def _delay(value: Any) -> float | None:
    if value is None or str(value).strip().lower() == "off":
        return None
    number = _number(value)
    if number < 0:
        raise ValueError("must be a number of milliseconds, at least 0, or 'off'.")
    return number


def _compression(value: Any) -> str:
    if str(value).lower() not in ("none", "gzip"):
        raise ValueError("must be 'none' or 'gzip'.")
    return str(value).lower()


_OWN = "OTEL_EXPORTER_SGP_"
_EXPORT_TIMEOUT = Setting(
    "export_timeout_millis", ("OTEL_BSP_EXPORT_TIMEOUT",), 30_000.0, _positive, "Budget of a batch, retries included."
)

EXPORTER_SETTINGS = (
    Setting(
        "endpoint",
        (_OWN + "ENDPOINT", "SGP_CLIENT_BASE_URL"),
        "https://api.egp.scale.com",
        _url,
        "Base URL of the SGP API.",
    ),
    Setting(
        "api_key",
        (_OWN + "API_KEY", "SGP_API_KEY"),
        None,
        _key,
        "Sent as `x-api-key`. As an argument also a callable, asked again after a 401.",
    ),
    Setting(
        "account_id", (_OWN + "ACCOUNT_ID", "SGP_ACCOUNT_ID"), None, checked_token, "Sent as `x-selected-account-id`."
    ),
    Setting(
        "headers",
        (_OWN + "HEADERS", "SGP_CLIENT_CUSTOM_HEADERS"),
        {},
        _headers,
        "More request headers: `k=v,k2=v2`; the fallback has a `Key: value` per line.",
    ),
    Setting(
        "timeout_millis", (_OWN + "TIMEOUT",), 10_000.0, _positive, "Deadline of one request, connecting included."
    ),
    Setting("max_request_bytes", (_OWN + "MAX_REQUEST_BYTES",), 4 * _MIB, _count, "Largest request body."),
    Setting("compression", (_OWN + "COMPRESSION",), "none", _compression, "`gzip` only for a server known to take it."),
    _EXPORT_TIMEOUT,
)

PROCESSOR_SETTINGS = (
    Setting("max_queue_size", ("OTEL_BSP_MAX_QUEUE_SIZE",), 20_000, _count, "Records held, those in flight included."),
    Setting(
        "schedule_delay_millis", ("OTEL_BSP_SCHEDULE_DELAY",), 250.0, _positive, "How long a record waits for company."
    ),
    Setting(
        "max_export_batch_size",
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE",),
        200,
        _count,
        "Records in one request; the server takes 1000.",
    ),
    _EXPORT_TIMEOUT,
    Setting("max_concurrent_exports", (_OWN + "MAX_CONCURRENT_EXPORTS",), 8, _count, "Requests in flight."),
    Setting(
        "max_queue_bytes",
        (_OWN + "MAX_QUEUE_BYTES",),
        64 * _MIB,
        _count,
        "Bytes held, encoded and in flight included.",
    ),
    Setting(
        "start_delay_millis",
        (_OWN + "START_DELAY",),
        0.0,
        _delay,
        "`0`: a START for every span. `N`: only for spans still open after N ms. `off` (or None): none.",
    ),
)

_REQUIRED = ("api_key", "account_id")


@dataclass(frozen=True)
class ExporterConfig:
    """What `SGPSpanExporter` was told. Times in milliseconds. Its repr holds no secret."""

    endpoint: str
    api_key: str | Callable[[], str] = field(repr=False)
    account_id: str
    headers: Mapping[str, str] = field(repr=False)
    timeout_millis: float
    max_request_bytes: int
    compression: str
    export_timeout_millis: float

    @classmethod
    def from_env(cls, **arguments: Any) -> ExporterConfig:
        """Arguments first, then the environment, then defaults. Raises ValueError that names the field."""
        values = _resolved(EXPORTER_SETTINGS, arguments)
        missing = [
            f"{setting.argument} (or {' or '.join(setting.variables)})"
            for setting in EXPORTER_SETTINGS
            if setting.argument in _REQUIRED and values[setting.argument] is None
        ]
        if missing:
            raise ValueError(f"SGPSpanExporter needs {' and '.join(missing)}.")
        if values["timeout_millis"] < 100:
            _logger.warning("timeout_millis is %g: it counts milliseconds, not seconds", values["timeout_millis"])
        return cls(**values)


@dataclass(frozen=True)
class ProcessorConfig:
    """What `ConcurrentBatchSpanProcessor` was told. Times in milliseconds."""

    max_queue_size: int
    schedule_delay_millis: float
    max_export_batch_size: int
    export_timeout_millis: float
    max_concurrent_exports: int
    max_queue_bytes: int
    start_delay_millis: float | None

    @classmethod
    def from_env(cls, **arguments: Any) -> ProcessorConfig:
        """Arguments first, then the environment, then defaults. Raises ValueError that names the field."""
        values = _resolved(PROCESSOR_SETTINGS, arguments)
        queue, batch = values["max_queue_size"], values["max_export_batch_size"]
        if batch > queue and arguments.get("max_export_batch_size") is not None:
            raise ValueError("max_export_batch_size must be less than or equal to max_queue_size.")
        if batch > MAX_BATCH_RECORDS:
            _logger.warning(
                "max_export_batch_size %d is more than the server takes; using %d", batch, MAX_BATCH_RECORDS
            )
        values["max_export_batch_size"] = min(batch, queue, MAX_BATCH_RECORDS)
        return cls(**values)


class Resolved(NamedTuple):
    """A value and where it came from: `argument`, a variable's name, or `default`."""

    value: Any
    source: str


T = TypeVar("T")


def _resolved(settings: tuple[Setting, ...], arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {setting.argument: resolve(setting, arguments.get(setting.argument, UNSET)).value for setting in settings}


def resolve(setting: Setting, argument: Any = UNSET) -> Resolved:
    """Where `setting` comes from. Blank is unset; a bad argument raises, a bad variable warns and is passed over."""
    if not _is_blank(argument) and not (argument is None and setting.parse is not _delay):
        try:
            return Resolved(setting.parse(_stripped(argument)), "argument")
        except ValueError as complaint:
            raise ValueError(f"{setting.argument} {complaint}") from None
    for variable in setting.variables:
        text = os.environ.get(variable, "").strip()
        if text:
            try:
                return Resolved(setting.parse(text), variable)
            except ValueError as complaint:
                _logger.warning("%s is ignored: it %s", variable, complaint)
    return Resolved(setting.default, "default")


def _stripped(argument: Any) -> Any:
    return argument.strip() if isinstance(argument, str) else argument


def _is_blank(argument: Any) -> bool:
    return argument is UNSET or (isinstance(argument, str) and not argument.strip())
