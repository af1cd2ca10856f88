"""uvicorn's HTTP, with an end to its patience: by itself it waits for the rest of a request for as long as it takes."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REST_SECONDS = 10.0
"""From the first byte of a request, or the connection, to the end of its head; and for the rest of a refused body."""
MAX_CONNECTIONS = 2_000


class ImpatientProtocol(H11Protocol):
    """Closes connections whose next request does not get on, and those beyond `MAX_CONNECTIONS`."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Start to wait, go on with it, or stop; what comes in the meantime does not win more time."""
        if self.transport.is_closing() or not self._awaits_rest():
            self._stop_watching()
        elif self._timer is None:
            self._timer = self.loop.call_later(REST_SECONDS, self.transport.abort)

    def _awaits_rest(self) -> bool:
        """True for half a head, and for the rest of a body whose request is answered already."""
        if self.cycle is None:
            return True
        return self.cycle.response_complete and (
            self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
        )

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
