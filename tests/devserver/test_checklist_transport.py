"""Checklist items 1 to 5: transport, authentication, bodies; and that no request brings the server down."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable

import httpx
import pytest
from sgp_client import Sgp, ended, started


@pytest.mark.parametrize("prefix", ["/v5", "/public/v5"])
def test_both_prefixes_serve_the_api(sgp: Sgp, prefix: str) -> None:
    """Item 1: JSON with a Content-Length, over one kept-alive HTTP/1.1 connection."""
    put = sgp.http.put(f"{prefix}/spans/batch", json={"items": [started()]})
    assert put.http_version == "HTTP/1.1"
    assert put.headers["content-type"] == "application/json"
    assert put.headers["content-length"] == str(len(put.content))
    get = sgp.http.get(f"{prefix}/spans/s")
    assert get.json() == put.json()["items"][0]
    assert get.extensions["network_stream"] is put.extensions["network_stream"]


def test_unknown_paths_and_methods(sgp: Sgp) -> None:
    """Item 1: 404 and 405, with a detail in JSON."""
    missing, wrong = sgp.http.get("/v5/traces"), sgp.http.delete("/v5/spans/batch")
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})


def test_gzip_is_refused_unless_set(serve: Callable[..., Sgp]) -> None:
    """Item 1: a compressed request is answered 415, or read where the setting says so."""
    body = gzip.compress(json.dumps({"items": [started()]}).encode())
    for setting, status in ((415, 415), ("accept", 200)):
        put = serve(gzip_requests=setting).http.put(
            "/v5/spans/batch", content=body, headers={"content-encoding": "gzip"}
        )
        assert put.status_code == status


def test_unpacked_body_is_bounded(serve: Callable[..., Sgp]) -> None:
    """Item 4: what gzip unpacks to counts, so that a small body cannot fill the memory."""
    bomb = gzip.compress(b" " * 2_000_000)
    put = serve(gzip_requests="accept", max_body_bytes=1_000_000).http.put(
        "/v5/spans/batch", content=bomb, headers={"content-encoding": "gzip"}
    )
    assert put.status_code == 413


@pytest.mark.parametrize("status", [401, 403])
def test_unknown_callers_are_refused(serve: Callable[..., Sgp], status: int) -> None:
    """Item 3: a missing or unknown key or account."""
    sgp = serve(api_key="key", account_id="acme", auth_status=status)
    assert sgp.put(started()).status_code == 200
    for headers in ({"x-api-key": "other"}, {"x-selected-account-id": "other"}, {"x-api-key": ""}):
        reply = sgp.http.post("/v5/spans/search", json={}, headers=headers)
        assert reply.status_code == status
        assert reply.json() == {"message": "Not authorized to access Account"}
    assert httpx.post(f"{sgp.server.url}/v5/spans/search", json={}).status_code == status


def test_accounts_do_not_see_each_other(sgp: Sgp) -> None:
    """Item 3: the spans of one account are invisible to another."""
    sgp.put_ok(started())
    with sgp.as_account("other") as other:
        assert other.post("/v5/spans/search", json={}).json()["items"] == []
        assert other.get("/v5/spans/s").status_code == 403
    assert sgp.found() == ["s"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"items":[NaN]}', b'\xff{"items":[]}', b"[" * 100_000, b'"\\ud800'])
def test_malformed_json_is_unprocessable(sgp: Sgp, body: bytes) -> None:
    """Item 4: 422 with a problem of type json_invalid."""
    put = sgp.http.put("/v5/spans/batch", content=body)
    assert put.status_code == 422
    assert put.json()["detail"][0]["type"] == "json_invalid"


def test_large_bodies_under_tracing(serve: Callable[..., Sgp]) -> None:
    """Item 4: 413 beyond the limit when tracing is primary, announced or streamed; legacy and no limit accept it."""
    large = ended(input={"text": "x" * 5_000_000})
    tracing = serve()
    assert tracing.put(large).status_code == 413
    body = json.dumps({"items": [large]}).encode()
    assert tracing.http.put("/v5/spans/batch", content=iter([body[:3_000_000], body[3_000_000:]])).status_code == 413
    assert tracing.found() == []
    assert serve(max_body_bytes=None).put(large).status_code == 200
    assert serve(profile="legacy").put(large).status_code == 200


def test_text_and_numbers_come_back_as_they_went(sgp: Sgp) -> None:
    """Item 5: non-ASCII text, U+2028 and integers beyond 64 bits, exactly."""
    sent = {"text": "hé 漢字 🙂 \u2028", "big": 2**70, "least": -(2**63), "most": 2**64 - 1, "tenth": 0.1, "n": 1e22}
    assert sgp.put_ok(ended(input=sent))[0]["input"] == sent
    assert sgp.get("s")["input"] == sent
    assert sgp.search().json()["items"][0]["input"] == sent


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "localhost"])
def test_local_host_names_are_accepted(sgp: Sgp, host: str) -> None:
    """Every name of this machine will do, whatever the port."""
    port = sgp.server.url.rpartition(":")[2]
    assert sgp.http.get("/_standin/stats", headers={"host": host.format(port=port)}).status_code == 200


@pytest.mark.parametrize("path", ["/_standin/stats", "/v5/spans/s"])
@pytest.mark.parametrize("host", ["evil.test:5003", "127.0.0.1.evil.test", ""])
def test_foreign_host_names_are_refused(sgp: Sgp, host: str, path: str) -> None:
    """A page of another site that resolves its name to this machine cannot read anything."""
    reply = sgp.http.get(path, headers={"host": host})
    assert (reply.status_code, reply.json()) == (400, {"detail": "Invalid host header"})


def test_ipv6() -> None:
    """The server listens on an IPv6 address, under the name that this has in a URL."""
    sgp = Sgp(host="::1")
    try:
        sgp.server.start()
    except OSError:
        pytest.skip("no IPv6 here")
    with sgp.as_account("acme") as http:
        assert http.put("/v5/spans/batch", json={"items": [started()]}).status_code == 200
    sgp.server.stop()


def test_rubbish_does_not_stop_the_server(sgp: Sgp) -> None:
    """Bytes that are not HTTP, and a request broken off, leave the server as it was."""
    host, port = sgp.server.url.removeprefix("http://").split(":")
    for sent in (b"\x16\x03\x01 not http\r\n\r\n", b"PUT /v5/spans/batch HTTP/1.1\r\nHost: localhost\r\nContent-Le"):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(sent)
    assert sgp.put().status_code == 200


@pytest.mark.parametrize(
    "payload", [{"input": {"a": "\ud800"}}, {"name": "\udfff"}, {"application_variant_id": "\ud8ff"}]
)
def test_lone_surrogates_are_replaced(sgp: Sgp, payload: dict[str, object]) -> None:
    """Item 26: invalid UTF-8 outside of ids is stored as U+FFFD."""
    body = json.dumps({"items": [{**ended(), **payload}]})
    reply = sgp.http.put("/v5/spans/batch", content=body.encode())
    assert reply.status_code == 200
    assert "\ufffd" in reply.text
    assert sgp.http.post("/v5/spans/search", content=b'{"group_id": "\\ud800"}').status_code == 422
    assert sgp.found() == ["s"]
