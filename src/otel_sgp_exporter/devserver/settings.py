"""Every choice the imitation server offers, checked when it is built."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

ProfileName = Literal["legacy", "tracing-pg", "tracing-ch", "dual-legacy", "dual-tracing"]
StoreName = Literal["legacy", "traces"]

# The stores that a profile writes; the first one is primary: it decides the status and answers the reads.
STORES: dict[str, tuple[StoreName, ...]] = {
    "legacy": ("legacy",),
    "tracing-pg": ("traces",),
    "tracing-ch": ("traces",),
    "dual-legacy": ("legacy", "traces"),
    "dual-tracing": ("traces", "legacy"),
}

# What occurs in every text that the regular expression beside it redacts.
CREDENTIAL_PATTERNS = (
    ("Bearer", r"\bBearer\s+[\w.~+/=-]+"),
    ("eyJ", r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"),
    ("sk-", r"\bsk-[\w-]{16,}"),
    ("@", r"\b[a-zA-Z][\w+.-]*://[^\s:/@]*:[^\s/@]+@\S+"),
)
# The last words, in lower case, of the keys whose values are redacted.
CREDENTIAL_NAMES = ("api_key", "password", "authorization", "secret")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the server behaves where it can be told to; ValueError names the field of a value that is not allowed.

    The first value of a choice is its default: the harsher reading of what the service leaves open.
    """

    profile: ProfileName = "tracing-pg"
    api_key: str | None = None  # None: any key will do, but there must be one
    account_id: str | None = None  # None: any account will do, but there must be one
    allowed_hosts: tuple[str, ...] = ()  # names in the Host header besides this machine's own
    max_spans: int | None = 100_000  # the oldest are forgotten beyond it

    gzip_requests: Literal[415, "accept"] = 415
    auth_status: Literal[401, 403] = 401
    max_body_bytes: int | None = 4 * 1024 * 1024  # applies when tracing is primary
    empty_batch: Literal[200, 422] = 200
    late_start: Literal["last_write_wins", "completed_wins"] = "last_write_wins"  # in the tracing store
    legacy_id_scope: Literal["global", "account"] = "global"
    duplicate_post_status: Literal[409, 400, 422] = 409
    trace_id_max: Literal[256, 38] = 256
    obs_id_check: Literal["strict", "off"] = "strict"
    zero_obs_ids: Literal["reject", "accept"] = "reject"
    naive_timestamps: Literal["utc", "reject"] = "utc"
    epoch_timestamps: Literal["accept", "reject"] = "accept"
    date_only: Literal["accept", "reject"] = "accept"
    redaction: Literal["on", "off"] = "on"
    redaction_patterns: tuple[tuple[str, str], ...] = CREDENTIAL_PATTERNS
    redaction_names: tuple[str, ...] = CREDENTIAL_NAMES
    unreadable_trace_status: Literal[403, 404] = 403
    usage_keys: Literal["all", "none"] = "all"
    legacy_token_sort_status: Literal[422, 400] = 422
    bad_cursor_status: Literal[400, 422] = 400
    uuid_terms: Literal["loose", "rfc"] = "loose"
    search_byte_budget: int = 32 * 1024 * 1024
    search_row_budget: int | None = None  # stands in for the service's time budget: what one search may look at
    broad_term_rows: int | None = 50_000  # on Postgres a text term that matches more is refused
    project_scoping: Literal["off", "on"] = "off"  # whether a search heeds x-project-id

    latency_p50_millis: float = 0  # of a PUT, from its first byte to its answer
    latency_p95_millis: float | None = None  # None: every PUT takes the p50
    capacity_per_second: float | None = None  # PUTs beyond it are refused with `over_capacity`
    over_capacity: Literal[503, 429] = 503
    retry_after_seconds: int | None = 1  # sent with that refusal; None: no header
    seed: int | None = None  # of latencies and of faults with a probability

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(Settings).items():
            value = getattr(self, name)
            if not _accepts(hint, value):
                allowed = f"one of {get_args(hint)}" if get_origin(hint) is Literal else hint
                raise ValueError(f"{name} must be {allowed}, not {value!r}")

    @property
    def stores(self) -> tuple[StoreName, ...]:
        return STORES[self.profile]

    @property
    def primary(self) -> StoreName:
        return self.stores[0]

    @property
    def tracing_is_primary(self) -> bool:
        return self.primary == "traces"

    @property
    def searches_postgres(self) -> bool:
        """Whether reads go to the tracing service on Postgres."""
        return self.tracing_is_primary and self.profile != "tracing-ch"

    @property
    def stores_nul(self) -> bool:
        """ClickHouse keeps NUL bytes; Postgres cannot."""
        return self.profile == "tracing-ch"


def parse_setting(text: str) -> tuple[str, Any]:
    """`name=value` as typed on a command line; ValueError when there is no such setting."""
    name, _, value = text.partition("=")
    if name not in get_type_hints(Settings):
        raise ValueError(f"no setting is called {name!r}; there are {', '.join(get_type_hints(Settings))}")
    if value == "none":
        return name, None
    if get_type_hints(Settings)[name] == tuple[str, ...]:
        return name, tuple(value.split(","))
    try:
        return name, float(value) if "." in value else int(value)
    except ValueError:
        return name, value


def _accepts(hint: Any, value: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is UnionType:
        return any(_accepts(arm, value) for arm in get_args(hint))
    return isinstance(value, (int, float) if hint is float else get_origin(hint) or hint)
