"""Whose spans they are: one account and one pipeline for each tenant, and how a request says which."""

from __future__ import annotations

import hmac
import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._config import ProcessorConfig
from .._exporter import SGPSpanExporter
from .._outcome import Verdict
from .._pipeline import Pipeline
from .refusal import Code, Refusal, unavailable

_logger = logging.getLogger(__name__)

TENANT_HEADER = "x-sgp-tenant"
KEY_HEADER, ACCOUNT_HEADER = "x-api-key", "x-selected-account-id"
MAX_TENANTS = 64
"""Accounts at a time, where requests bring their own; those with nothing pending make room for others."""
_MAX_ACCOUNT_CHARACTERS = 256

_FIELDS = {"api_key", "api_key_file", "account_id", "endpoint", "token"}


@dataclass(eq=False)
class Tenant:
    """An account, under a name that is no secret."""

    name: str
    exporter: SGPSpanExporter
    pipeline: Pipeline
    token: str | None = field(default=None, repr=False)

    def close(self, timeout_seconds: float) -> None:
        """Deliver what is left, and stop."""
        self.pipeline.close(timeout_seconds)
        self.exporter.shutdown()


class Tenants:
    """Finds the tenant of a request.

    In this order: the bearer token, where tenants have their own; the header that names one; the credentials in the
    request's own headers, where that is allowed; the default tenant.

    Args:
        config: Of each tenant's pipeline.
        named: Tenants by name.
        default: The tenant of requests that name none.
        token: What every request has to bring, unless a tenant's own token comes with it; None for nothing.
        from_headers: Whether requests may bring an API key and account of their own.
        attempted: Told of every request to SGP: how long it took and what it was worth.
    """

    def __init__(
        self,
        config: ProcessorConfig,
        named: Mapping[str, Mapping[str, Any]],
        default: Mapping[str, Any] | None,
        *,
        token: str | None = None,
        from_headers: bool = False,
        attempted: Callable[[float, Verdict], object] = lambda seconds, verdict: None,
    ) -> None:
        self._config = config
        self._token = token
        self._from_headers = from_headers
        self._attempted = attempted
        self._named = {name: self._built(name, settings) for name, settings in named.items()}
        self._default = None if default is None else self._built("default", default)
        self._brought: dict[tuple[str, str], Tenant] = {}
        self._lock = threading.Lock()

    def _built(self, name: str, settings: Mapping[str, Any]) -> Tenant:
        arguments = {key: value for key, value in settings.items() if key not in ("token", "api_key_file")}
        if "api_key_file" in settings:
            arguments["api_key"] = _key_in(settings["api_key_file"])
        exporter = SGPSpanExporter(**arguments)
        pipeline = Pipeline(exporter.delivery, self._config)
        exporter.delivery.attempted = self._attempted
        return Tenant(name, exporter, pipeline, settings.get("token"))

    @property
    def have_tokens(self) -> bool:
        """Whether nobody can send without showing one."""
        return self._token is not None or (
            not self._from_headers
            and self._default is None
            and all(tenant.token is not None for tenant in self._named.values())
        )

    @property
    def are_several(self) -> bool:
        return self._from_headers or len(self.known()) > 1

    def known(self) -> list[Tenant]:
        """All of them at the moment."""
        with self._lock:
            return [*([self._default] if self._default else []), *self._named.values(), *self._brought.values()]

    def tenant_of(self, headers: Mapping[str, str]) -> Tenant:
        """The tenant of a request with these headers (names in lower case). Raises Refusal."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        for tenant in self._named.values():
            if tenant.token is not None and _same(token, tenant.token):
                return tenant
        if self._token is not None and not _same(token, self._token):
            raise Refusal(401, Code.UNAUTHENTICATED, "The bearer token is missing or wrong")
        return self._chosen(headers, trusted=False)

    def tenant_named(self, headers: Mapping[str, str]) -> Tenant:
        """The same for a Kafka message: who may write to the topic is the brokers' to decide. Raises Refusal."""
        return self._chosen(headers, trusted=True)

    def _chosen(self, headers: Mapping[str, str], *, trusted: bool) -> Tenant:
        name = headers.get(TENANT_HEADER)
        if name is not None:
            tenant = self._named.get(name)
            # Whoever has a token of their own is not to be named by others.
            if tenant is None or (tenant.token is not None and not trusted):
                raise Refusal(403, Code.PERMISSION_DENIED, f"{TENANT_HEADER} names nobody that you may send for")
            return tenant
        if self._from_headers and headers.get(KEY_HEADER) and headers.get(ACCOUNT_HEADER):
            return self._brought_by(headers[KEY_HEADER], headers[ACCOUNT_HEADER])
        if self._default is None:
            wanted = f"{KEY_HEADER} and {ACCOUNT_HEADER}" if self._from_headers else TENANT_HEADER
            raise Refusal(403, Code.PERMISSION_DENIED, f"The request does not say whose spans it brings: set {wanted}")
        return self._default

    def _brought_by(self, api_key: str, account_id: str) -> Tenant:
        if len(account_id) > _MAX_ACCOUNT_CHARACTERS:
            why = f"{ACCOUNT_HEADER} has more than {_MAX_ACCOUNT_CHARACTERS} characters"
            raise Refusal(400, Code.INVALID_ARGUMENT, why)
        with self._lock:
            key = (api_key, account_id)
            tenant = self._brought.pop(key, None)
            if tenant is None:
                self._make_room()
                try:
                    tenant = self._built(account_id, {"api_key": api_key, "account_id": account_id})
                except ValueError:
                    raise Refusal(401, Code.UNAUTHENTICATED, "The API key or the account cannot be sent") from None
            self._brought[key] = tenant  # the last to be forgotten
            return tenant

    def _make_room(self) -> None:
        if len(self._brought) < MAX_TENANTS:
            return
        for key, tenant in self._brought.items():
            if not tenant.pipeline.stats().pending:
                del self._brought[key]
                tenant.close(0)
                return
        raise unavailable(f"More than {MAX_TENANTS} accounts send at the same time", 5)

    def close(self, timeout_seconds: float) -> None:
        """Deliver what is left, all tenants at the same time, and stop."""
        closing = [threading.Thread(target=each.close, args=(timeout_seconds,)) for each in self.known()]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    def hurry(self) -> None:
        """Send without lingering from now on."""
        for tenant in self.known():
            tenant.pipeline.hurry()


def read_tenants(path: str) -> dict[str, dict[str, Any]]:
    """The tenants in a JSON file: `{"name": {"api_key": ..., "account_id": ...}}`. Raises ValueError without a secret.

    Instead of `api_key` there may be `api_key_file`, read again after a 401; `token` and `endpoint` are optional.
    """
    try:
        found = json.loads(Path(path).read_text())
    except ValueError:
        raise ValueError(f"{path} is not JSON") from None
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise ValueError(f"{path} must hold an object with an object for each tenant")
    for name, entry in found.items():
        if unknown := {*entry} - _FIELDS:
            raise ValueError(
                f"{path}: {name} has {', '.join(sorted(unknown))}; allowed are {', '.join(sorted(_FIELDS))}"
            )
        if ("api_key" in entry) == ("api_key_file" in entry) or "account_id" not in entry:
            raise ValueError(f"{path}: {name} needs account_id, and either api_key or api_key_file")
    return found


def _key_in(path: str) -> Callable[[], str]:
    return lambda: Path(path).read_text().strip()


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
