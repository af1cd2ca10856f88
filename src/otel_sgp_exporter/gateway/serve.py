"""The gateway as one object, and the command that runs it until a signal comes."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import ssl
import sys
import threading
import time
from typing import Any

import uvicorn

from .._outcome import Verdict
from .app import application
from .body import Reserve
from .counts import Counts
from .health import Health
from .intake import Intake
from .protocol import ImpatientProtocol
from .receiver import Receiver, Terms
from .settings import GatewaySettings, settings_of
from .tenants import Tenants, read_tenants

_logger = logging.getLogger(__name__)

_BACKLOG = 2_048
_BODY_SECONDS = 30.0
_MAX_REQUESTS = 1_000
_RESERVED_BODIES = 4
"""As many of the largest size may be read at the same time, or any number of smaller ones."""
_UVICORN: dict[str, Any] = {
    "http": ImpatientProtocol,
    "ws": "none",
    "lifespan": "off",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "timeout_keep_alive": 75,  # longer than most senders keep a connection: else they meet its end
}


class Gateway:
    """Receives in a background thread between `start` and `stop`. Usage: `with Gateway(settings) as gateway: ...`.

    Raises ValueError and OSError when it is built or started with what cannot work.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.counts = Counts()
        named = read_tenants(settings.tenants_file) if settings.tenants_file else {}
        only_others = bool(named) or settings.tenants_from_headers
        self.tenants = Tenants(
            settings.engine,
            {name: entry for name, entry in named.items() if name != "default"},
            named.get("default", None if only_others else {}),
            token=settings.token,
            from_headers=settings.tenants_from_headers,
            attempted=self._attempted,
        )
        self.intake = Intake(self.tenants, settings.max_records, settings.max_bytes)
        self._reserve = Reserve(_RESERVED_BODIES * settings.max_body_bytes)
        self._receiver: Receiver | None = None
        self._member = None
        if settings.kafka is not None:
            from .kafka import Member

            self._member = Member(settings.kafka, self.tenants, self.intake, self.counts)
        else:
            terms = Terms(
                waits=settings.waits,
                ack_seconds=settings.ack_seconds,
                max_body_bytes=settings.max_body_bytes,
                body_seconds=_BODY_SECONDS,
                max_requests=_MAX_REQUESTS,
            )
            self._receiver = Receiver(self.tenants, self.intake, self._reserve, terms, self.counts)
        self._draining = False

    def _attempted(self, seconds: float, verdict: Verdict) -> None:
        self.counts.add("puts", code=str(verdict.status or "none"))
        self.counts.add("put_seconds", seconds)

    @property
    def url(self) -> str:
        """Known once the gateway has started."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http{'s' if self.settings.tls_cert else ''}://{host}:{self._port}"

    @property
    def failure(self) -> str:
        """What only a new process can mend."""
        return self._member.failure if self._member is not None else ""

    def _complaint(self) -> str:
        if self._draining:
            return "shutting down"
        return self._member.complaint if self._member is not None else ""

    def start(self) -> None:
        """Listen and serve; whoever connects from now on is served."""
        settings = self.settings
        health = Health(self.tenants, self._reserve, self.counts, self._complaint, lambda: self.failure)
        tls: dict[str, Any] = {
            "ssl_certfile": settings.tls_cert,
            "ssl_keyfile": settings.tls_key,
            "ssl_ca_certs": settings.tls_client_ca,
            "ssl_cert_reqs": ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
        }
        config = uvicorn.Config(
            application(self._receiver, health.routes),
            timeout_graceful_shutdown=int(settings.drain_seconds) + 1,
            **_UVICORN,
            **(tls if settings.tls_cert else {}),
        )
        config.load()  # here, so that a wrong certificate is the caller's to hear of
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
        # asyncio does not do it for a socket made elsewhere; without, answers of two packets wait 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listening = listening
        self._port = listening.getsockname()[1]
        self._uvicorn = uvicorn.Server(config)
        serve = self._uvicorn.serve(sockets=[listening])
        self._thread = threading.Thread(target=asyncio.run, args=(serve,), name="sgp-gateway", daemon=True)
        self._thread.start()
        if self._member is not None:
            self._member.start()

    def stop(self) -> None:
        """Take nothing more, deliver and answer what is under way, leave the group, close; within the drain time."""
        give_up_at = time.monotonic() + self.settings.drain_seconds
        self._draining = True
        if self._receiver is not None:
            self._receiver.draining = True
        self.tenants.hurry()
        if self._member is not None:
            self._member.stop(self.settings.drain_seconds)
        self._uvicorn.should_exit = True
        self._thread.join(max(give_up_at - time.monotonic(), 0) + 2)
        self._listening.close()  # uvicorn does not, when it has hardly begun
        self.tenants.close(max(give_up_at - time.monotonic(), 0))
        if self._receiver is not None:
            self._receiver.close()

    def __enter__(self) -> Gateway:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def run(options: argparse.Namespace) -> int:
    """`otel-sgp gateway`: until SIGTERM, SIGINT or a failure that only a new process can mend."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("uvicorn", "opentelemetry"):  # else whoever sends nonsense fills the log, and with what they send
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        settings = settings_of(options)
        gateway = Gateway(settings)
        gateway.start()
    except ModuleNotFoundError as error:
        return _fail(f"{error}: install it with `pip install 'otel-sgp-exporter[gateway,kafka]'`")
    except (ValueError, OSError) as error:
        return _fail(str(error))
    if settings.is_open and not gateway.tenants.have_tokens:
        _logger.warning("Whoever reaches %s can send: there is neither a token nor --tls-client-ca", gateway.url)
    source = f"topic {settings.kafka.topic}" if settings.kafka else f"{gateway.url}/v1/traces"
    print(f"OTLP gateway: {source} to SGP; health and metrics at {gateway.url}/readyz and /metrics", flush=True)  # noqa: T201
    while not stopped.wait(1) and not gateway.failure:
        pass
    failure = gateway.failure
    gateway.stop()
    return _fail(failure) if failure else 0


def _fail(message: str) -> int:
    print(f"otel-sgp gateway: {message}", file=sys.stderr)  # noqa: T201
    return 1
