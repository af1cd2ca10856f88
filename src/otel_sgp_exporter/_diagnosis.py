"""What is wrong and how to mend it, a sentence for each way in which SGP cannot be reached or refuses."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from enum import IntEnum
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx

_KEPT_CHARACTERS = 200


class Exit(IntEnum):
    """What `otel-sgp check` found, for scripts. 2 is left to wrong usage of the command line."""

    OK = 0
    SETTINGS = 1
    CONNECTION = 3
    CREDENTIALS = 4
    REFUSED = 5
    NOT_READ_BACK = 6


class Diagnosis(NamedTuple):
    """A sentence for a person and a status for a script."""

    status: Exit
    sentence: str


class CheckError(Exception):
    """A step failed; `diagnosis` says why."""

    def __init__(self, status: Exit, sentence: str) -> None:
        super().__init__(sentence)
        self.diagnosis = Diagnosis(status, sentence)


def of_error(error: BaseException, endpoint: str) -> CheckError:
    """For a request that got no answer."""
    parts = urlsplit(endpoint)
    host = parts.hostname or endpoint
    causes = list(_causes(error))
    if _any(causes, ssl.SSLError):
        tail = "if a proxy of your network ends TLS, point SSL_CERT_FILE at its certificate; if it is http://, say so"
        return CheckError(Exit.CONNECTION, f"TLS with {host} fails ({_short(causes[-1])}): {tail}.")
    if _any(causes, httpx.ProxyError):
        return CheckError(
            Exit.CONNECTION, f"The proxy refuses ({_short(error)}): mend HTTPS_PROXY, or add {host} to NO_PROXY."
        )
    if _any(causes, socket.gaierror):
        return CheckError(Exit.CONNECTION, f"There is no host {host}{_via(parts.scheme)}: mend the endpoint.")
    if _any(causes, ConnectionRefusedError):
        return CheckError(
            Exit.CONNECTION, f"Nobody listens at {parts.netloc}{_via(parts.scheme)}: mend the endpoint, or start it."
        )
    if _any(causes, httpx.TimeoutException):
        return CheckError(
            Exit.CONNECTION,
            f"{host} does not answer in time{_via(parts.scheme)}: a firewall? Set HTTPS_PROXY, or raise the timeout.",
        )
    return CheckError(Exit.CONNECTION, f"No connection to {parts.netloc}: {_short(error)}.")


def of_answer(status: int, why: str) -> CheckError:
    """For an answer that is no success. `why` begins with the status, as verdicts put it."""
    why = why[:_KEPT_CHARACTERS]
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return CheckError(
            Exit.CREDENTIALS, f"SGP refuses the key or the account ({why}): is the key one of this account's?"
        )
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return CheckError(Exit.CONNECTION, f"The proxy wants a name and a password ({why}): put them into HTTPS_PROXY.")
    if 300 <= status < 400:
        return CheckError(
            Exit.CONNECTION, f"The endpoint sends us elsewhere ({why}): is it https, and nothing after it?"
        )
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        return CheckError(Exit.CONNECTION, f"There is no span API at the endpoint ({why}): mend it, without any path.")
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
        return CheckError(Exit.REFUSED, f"SGP has no time for us ({why}): try again later.")
    return CheckError(Exit.REFUSED, f"SGP refuses the test span ({why}): please report this.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _any(causes: list[BaseException], kind: type[BaseException]) -> bool:
    return any(isinstance(cause, kind) for cause in causes)


def _via(scheme: str) -> str:
    proxy = getproxies().get(scheme) or getproxies().get("all")
    return f" (through the proxy {proxy.rpartition('@')[2]})" if proxy else ""


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:_KEPT_CHARACTERS]
