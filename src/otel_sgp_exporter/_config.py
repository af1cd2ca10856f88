"""Every setting, once: argument, variables, default, what is allowed. Nothing else reads the environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, TypeVar

from . import _parse

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


_OWN = "OTEL_EXPORTER_SGP_"
_EXPORT_TIMEOUT = Setting(
    "export_timeout_millis",
    ("OTEL_BSP_EXPORT_TIMEOUT",),
    30_000.0,
    _parse.millis,
    "Budget of a batch, retries included.",
)

EXPORTER_SETTINGS = (
    Setting(
        "endpoint",
        (_OWN + "ENDPOINT", "SGP_CLIENT_BASE_URL"),
        "https://api.egp.scale.com",
        _parse.url,
        "Base URL of the SGP API.",
    ),
    Setting(
        "api_key",
        (_OWN + "API_KEY", "SGP_API_KEY"),
        None,
        _parse.key,
        "Sent as `x-api-key`. As an argument also a callable, asked again after a 401.",
    ),
    Setting(
        "account_id", (_OWN + "ACCOUNT_ID", "SGP_ACCOUNT_ID"), None, _parse.token, "Sent as `x-selected-account-id`."
    ),
    Setting(
        "headers",
        (_OWN + "HEADERS", "SGP_CLIENT_CUSTOM_HEADERS"),
        {},
        _parse.headers,
        "More request headers: `k=v,k2=v2`; the fallback has a `Key: value` per line.",
    ),
    Setting(
        "timeout_millis",
        (_OWN + "TIMEOUT",),
        10_000.0,
        _parse.millis,
        "Deadline of one request, connecting included.",
    ),
    Setting("max_request_bytes", (_OWN + "MAX_REQUEST_BYTES",), 4 * _MIB, _parse.count, "Largest request body."),
    Setting(
        "compression", (_OWN + "COMPRESSION",), "none", _parse.compression, "`gzip` only for a server known to take it."
    ),
    Setting("hide_inputs", (_OWN + "HIDE_INPUTS",), False, _parse.flag, "Leave out what spans were given."),
    Setting("hide_outputs", (_OWN + "HIDE_OUTPUTS",), False, _parse.flag, "Leave out what spans returned."),
    Setting(
        "remote_parent",
        (_OWN + "REMOTE_PARENT",),
        "auto",
        _parse.remote_parent,
        "Parents in other processes: `auto` links those marked as exported to SGP, `link` all, `root` none.",
    ),
    _EXPORT_TIMEOUT,
)

PROCESSOR_SETTINGS = (
    Setting(
        "max_queue_size", ("OTEL_BSP_MAX_QUEUE_SIZE",), 20_000, _parse.count, "Records held, those in flight included."
    ),
    Setting(
        "schedule_delay_millis",
        ("OTEL_BSP_SCHEDULE_DELAY",),
        250.0,
        _parse.millis,
        "How long a record waits for company.",
    ),
    Setting(
        "max_export_batch_size",
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE",),
        200,
        _parse.count,
        "Records in one request; the server takes 1000.",
    ),
    _EXPORT_TIMEOUT,
    Setting("max_concurrent_exports", (_OWN + "MAX_CONCURRENT_EXPORTS",), 8, _parse.count, "Requests in flight."),
    Setting(
        "max_queue_bytes",
        (_OWN + "MAX_QUEUE_BYTES",),
        64 * _MIB,
        _parse.count,
        "Bytes held, encoded and in flight included.",
    ),
    Setting(
        "start_delay_millis",
        (_OWN + "START_DELAY",),
        0.0,
        _parse.delay,
        "`0`: a START for every span. `N`: only for spans still open after N ms. `off` (or None): none.",
    ),
    Setting(
        "cancel_open_spans",
        (_OWN + "CANCEL_OPEN_SPANS",),
        True,
        _parse.flag,
        "Close spans as CANCELED that are still open at shutdown.",
    ),
    Setting(
        "spool",
        (_OWN + "SPOOL_DIR",),
        None,
        _parse.directory,
        "Directory that keeps ENDs which could not be delivered, for the next process or `otel-sgp replay`.",
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
    hide_inputs: bool
    hide_outputs: bool
    remote_parent: Literal["auto", "link", "root"]
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
    cancel_open_spans: bool = True
    spool: str | None = None

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

    @property
    def senders(self) -> int:
        """Threads that send: more than requests may be in flight, since some encode the next batches meanwhile."""
        return self.max_concurrent_exports + 2 + self.max_concurrent_exports // 4


class Resolved(NamedTuple):
    """A value and where it came from: `argument`, a variable's name, or `default`."""

    value: Any
    source: str


T = TypeVar("T")


def _resolved(settings: tuple[Setting, ...], arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {setting.argument: resolve(setting, arguments.get(setting.argument, UNSET)).value for setting in settings}


def resolve(setting: Setting, argument: Any = UNSET) -> Resolved:
    """Where `setting` comes from. Blank is unset; a bad argument raises, a bad variable warns and is passed over."""
    if not _is_blank(argument) and not (argument is None and setting.parse is not _parse.delay):
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
