"""What is wrong and how to mend it, a sentence for each way in which SGP cannot be reached or refuses."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from enum import IntEnum
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

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
        self.diagnosis = Diagnosis(status, " ".join(sentence.split()))  # one line, whatever is quoted in it


def of_error(error: BaseException, endpoint: str) -> CheckError:
    """For a request that got no answer."""
    return CheckError(Exit.CONNECTION, _why_no_answer(error, list(_causes(error)), endpoint))


def _why_no_answer(error: BaseException, causes: list[BaseException], endpoint: str) -> str:
    parts = urlsplit(endpoint)
    host = parts.hostname or endpoint
    proxy = _proxy_to(parts.scheme, host)
    if _any(causes, FileNotFoundError):
        return f"There is no file of certificates ({_short(causes[-1])}): mend SSL_CERT_FILE."
    if _any(causes, ssl.SSLError):
        tail = "if a proxy of your network ends TLS, point SSL_CERT_FILE at its certificate; if it is http://, say so"
        return f"TLS with {host} fails ({_short(causes[-1])}): {tail}."
    if _any(causes, httpx.ProxyError):
        return f"The proxy refuses ({_short(error)}): mend HTTPS_PROXY, or add {host} to NO_PROXY."
    if _any(causes, httpx.InvalidURL, UnicodeError):
        return f"{host} cannot be an address ({_short(error)}): mend the endpoint."
    if proxy and _any(causes, socket.gaierror, ConnectionRefusedError):
        return f"Nobody listens at the proxy {proxy}: mend HTTPS_PROXY, or add {host} to NO_PROXY."
    if _any(causes, socket.gaierror):
        return f"There is no host {host}: mend the endpoint, or set HTTPS_PROXY."
    if _any(causes, ConnectionRefusedError):
        return f"Nobody listens at {_address(parts)}: mend the endpoint, or start it."
    if _any(causes, httpx.TimeoutException):
        via = f" (through the proxy {proxy})" if proxy else ""
        return f"{host} does not answer in time{via}: a firewall? Set HTTPS_PROXY, or raise the timeout."
    return f"No connection to {_address(parts)}: {_short(error).rstrip('.')}."


def of_stranger(why: str) -> CheckError:
    """For an answer that SGP would not give."""
    sentence = f"Something answers, but not SGP ({_cut(why)}): mend the endpoint, or see who stands between."
    return CheckError(Exit.CONNECTION, sentence)


def of_answer(status: int, why: str) -> CheckError:
    """For an answer that is no success. `why` begins with the status, as verdicts put it."""
    why = _cut(why)
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


def _any(causes: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _proxy_to(scheme: str, host: str) -> str:
    """The proxy for `host`, without name and password; empty for none."""
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    return "" if proxy_bypass(host) else proxy.rpartition("@")[2]


def _address(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _short(error: BaseException) -> str:
    return _cut(str(error) or type(error).__name__)


def _cut(text: str) -> str:
    return text[:_KEPT_CHARACTERS]
