"""Checklist items 1 to 5 of the SGP contract: transport, authentication, bodies."""

from __future__ import annotations

import httpx

from otel_sgp_exporter.devserver import DevServer

HEADERS = {"x-api-key": "k", "x-selected-account-id": "a"}
START = "2026-11-20T20:51:45.187923+00:00"


def test_paths_answer_with_and_without_public() -> None:
    """Item 1: the API is there under /v5 and under /public/v5, over one kept-alive connection."""
    with DevServer() as server, httpx.Client(base_url=server.url, headers=HEADERS) as client:
        for prefix in ("", "/public"):
            reply = client.put(
                f"{prefix}/v5/spans/batch",
                json={"items": [{"name": "n", "trace_id": "t", "id": "s", "start_timestamp": START}]},
            )
            assert 200 == reply.status_code
            assert str(len(reply.content)) == reply.headers["content-length"]
            assert client.get(f"{prefix}/v5/spans/s").json() == reply.json()["items"][0]
        assert {"detail": "Not Found"} == client.get("/v6/spans").json()
        assert 405 == client.delete("/v5/spans/batch").status_code
