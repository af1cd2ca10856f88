from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from otel_sgp_exporter._outcome import Reply, TransportError

Answer = Reply | TransportError | int


class Sent(NamedTuple):
    """One attempt as the transport saw it."""

    items: list[dict[str, Any]]
    size: int
    deadline: float

    @property
    def names(self) -> list[str]:
        """The names of the spans in it, in order."""
        return [item["name"] for item in self.items]


class ScriptedTransport:
    """A transport that sends nothing: `script` sees each attempt and says what comes back.

    Args:
        script: Returns a `Reply`, a status, or a `TransportError` to be raised. Called in the sending thread.
        headers: Sent along with every answer that is a mere status.
    """

    def __init__(
        self, script: Callable[[Sent], Answer] = lambda sent: 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.attempts: list[Sent] = []
        self.keys_left = 0
        self._script = script
        self._headers = headers or {}

    def send(self, body: Iterable[bytes], size: int, deadline: float) -> Reply:
        """One attempt."""
        sent = Sent(orjson.loads(b"".join(body))["items"], size, deadline)
        self.attempts.append(sent)
        answer = self._script(sent)
        if isinstance(answer, TransportError):
            raise answer
        return Reply(answer, self._headers, "") if isinstance(answer, int) else answer

    def renew_key(self) -> bool:
        """True as often as `keys_left` says."""
        self.keys_left -= 1
        return self.keys_left >= 0

    def close(self) -> None:
        """Nothing to close."""
