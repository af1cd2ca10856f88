"""A few words to talk to a dev server with: real HTTP, one kept-alive connection."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import httpx

from otel_sgp_exporter.devserver import DevServer

START = "2026-11-20T10:00:00.000000Z"
END = "2026-11-20T10:00:01.500000Z"


def started(id: str = "s", **fields: Any) -> dict[str, Any]:
    """The write item of a span in progress."""
    return {"id": id, "trace_id": "t", "name": "n", "start_timestamp": START, **fields}


def ended(id: str = "s", **fields: Any) -> dict[str, Any]:
    """The write item of a complete span."""
    return started(id, **{"end_timestamp": END, **fields})


class Sgp:
    """A server and a client of it."""

    def __init__(self, account: str = "acme", **settings: Any) -> None:
        self.server = DevServer(**settings)
        self._account = account

    def __enter__(self) -> Sgp:
        self.server.start()
        self.http = self.as_account(self._account)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.http.close()
        self.server.stop()

    def as_account(self, account: str, key: str = "key") -> httpx.Client:
        headers = {"x-api-key": key, "x-selected-account-id": account}
        return httpx.Client(base_url=self.server.url, headers=headers, verify=False, timeout=20)

    def put(self, *items: Any) -> httpx.Response:
        return self.http.put("/v5/spans/batch", json={"items": list(items)})

    def put_ok(self, *items: Any) -> list[dict[str, Any]]:
        reply = self.put(*items)
        assert reply.status_code == 200, reply.text
        return list(reply.json()["items"])

    def get(self, id: str) -> dict[str, Any]:
        reply = self.http.get(f"/v5/spans/{id}")
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def search(self, params: dict[str, Any] | None = None, **body: Any) -> httpx.Response:
        return self.http.post("/v5/spans/search", params=params or {}, json=body)

    def found(self, params: dict[str, Any] | None = None, **body: Any) -> list[str]:
        """The ids on the page that the search answers with."""
        reply = self.search(params, **body)
        assert reply.status_code == 200, reply.text
        return [item["id"] for item in reply.json()["items"]]
