"""Whose spans they are: the account that they go to, who may say so, and room for the others."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from otlp import Gateway, post, send, span

from otel_sgp_exporter.gateway import tenants as tenants_module
from otel_sgp_exporter.gateway.tenants import read_tenants
from support import Answer, Request, StubServer, wait_until

Starts = Callable[..., Gateway]


def accounts(server: StubServer) -> dict[str, tuple[str, str]]:
    """By span name, the key and the account that it came with."""
    return {
        item["name"]: (request.headers["x-api-key"], request.headers["x-selected-account-id"])
        for request in server.requests
        for item in request.items
    }


@pytest.fixture
def named(tmp_path: Path) -> Path:
    (tmp_path / "key-b").write_text("key of b\n")
    path = tmp_path / "tenants.json"
    tenants = {
        "a": {"api_key": "key-of-a", "account_id": "account-a"},
        "b": {"api_key_file": str(tmp_path / "key-b"), "account_id": "account-b", "token": "token-of-b"},
    }
    (tmp_path / "key-b").write_text("key-of-b\n")
    path.write_text(json.dumps(tenants))
    return path


def test_a_request_names_its_tenant_or_shows_the_tenants_token(
    server: StubServer, gateway_to: Starts, named: Path
) -> None:
    gateway = gateway_to(server.url, "--tenants", str(named))
    assert send(gateway.url, span(1, "for a"), x_sgp_tenant="a").status == 200
    assert send(gateway.url, span(2, "for b"), authorization="Bearer token-of-b").status == 200
    assert {"for a": ("key-of-a", "account-a"), "for b": ("key-of-b", "account-b")} == accounts(server)


@pytest.mark.parametrize("headers", [{}, {"x_sgp_tenant": "c"}, {"x_sgp_tenant": "b"}])
def test_whoever_names_nobody_or_somebody_elses_tenant_is_refused(
    server: StubServer, gateway_to: Starts, named: Path, headers: dict[str, str]
) -> None:
    """A tenant with a token is not to be named by those without it."""
    gateway = gateway_to(server.url, "--tenants", str(named))
    assert send(gateway.url, span(), **headers).status == 403
    assert not server.requests


def test_a_default_tenant_takes_what_names_none(server: StubServer, gateway_to: Starts, tmp_path: Path) -> None:
    path = tmp_path / "tenants.json"
    path.write_text(json.dumps({"default": {"api_key": "key-of-all", "account_id": "account-of-all"}}))
    assert send(gateway_to(server.url, "--tenants", str(path)).url, span(1, "any")).status == 200
    assert {"any": ("key-of-all", "account-of-all")} == accounts(server)


def test_requests_may_bring_their_own_account(server: StubServer, gateway_to: Starts) -> None:
    """Where that is allowed; the headers are those of SGP's API."""
    gateway = gateway_to(server.url, "--tenants-from-headers")
    for number in (1, 2, 3):
        brought = {"x_api_key": f"key-{number}", "x_selected_account_id": f"account-{number}"}
        assert send(gateway.url, span(number, f"span {number}"), **brought).status == 200
    assert {f"span {number}": (f"key-{number}", f"account-{number}") for number in (1, 2, 3)} == accounts(server)
    assert send(gateway.url, span(4), x_api_key="key-1").status == 403


def test_headers_of_requests_are_not_believed_unless_allowed(server: StubServer, gateway_to: Starts) -> None:
    gateway = gateway_to(server.url)
    assert send(gateway.url, span(1, "any"), x_api_key="k", x_selected_account_id="a").status == 200
    assert {"any": ("key-for-tests", "account-for-tests")} == accounts(server)


def test_a_bearer_token_is_asked_of_everybody(server: StubServer, gateway_to: Starts, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("open sesame\n")
    gateway = gateway_to(server.url, "--token-file", str(tmp_path / "token"))
    for authorization in ("", "Bearer", "Bearer open", "Basic open sesame", "open sesame"):
        answered = send(gateway.url, span(), authorization=authorization)
        assert (401, "Bearer") == (answered.status, answered.headers["www-authenticate"])
    assert send(gateway.url, span(), authorization="bearer open sesame").status == 200


def test_accounts_beyond_the_limit_wait_until_another_has_nothing_pending(
    gateway_to: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that was used longest ago makes room, and nothing of it stays; one whose spans are pending does not."""
    monkeypatch.setattr(tenants_module, "MAX_TENANTS", 2)
    held: list[Request] = []

    def script(request: Request) -> Answer | None:
        if request.headers["x-api-key"] == "key-2":
            held.append(request)
            return Answer(503, {"retry-after": "60"})
        return None

    with StubServer(script) as server:
        gateway = gateway_to(server.url, "--tenants-from-headers", "--ack-timeout", "0.3")
        statuses = []
        evicted = None
        for number in (1, 2, 3, 1):
            if number == 3:
                evicted = weakref.ref(gateway.tenants.known()[0].pipeline)
            brought = {"x_api_key": f"key-{number}", "x_selected_account_id": f"account-{number}"}
            statuses.append(send(gateway.url, span(number), **brought).status)
        assert [200, 503, 200, 200] == statuses
        assert {"account-2", "account-1"} == {tenant.name for tenant in gateway.tenants.known()}
        assert evicted is not None
        wait_until(lambda: bool(gc.collect() or evicted() is None))
        for number in (2, 4):
            brought = {"x_api_key": "key-2", "x_selected_account_id": f"account-{number}"}
            assert send(gateway.url, span(number), **brought).status == 503


def metrics_of(gateway: Gateway) -> str:
    return post(gateway.url, b"", path="/metrics", method="GET").body.decode()


def test_an_account_that_has_made_room_is_counted_by_no_more(
    server: StubServer, gateway_to: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can send could else fill memory with names, without one span or a key that SGP knows."""
    monkeypatch.setattr(tenants_module, "MAX_TENANTS", 2)
    gateway = gateway_to(server.url, "--tenants-from-headers")
    for number in range(1, 5):
        brought = {"x_api_key": "key", "x_selected_account_id": f"account-{number}"}
        assert send(gateway.url, span(number), **brought).status == 200
    metrics = metrics_of(gateway)
    assert 'sgp_gateway_spans_total{tenant="account-4"} 1\n' in metrics
    assert "account-3" in metrics
    assert "account-2" not in metrics
    assert "account-1" not in metrics


def test_an_account_is_counted_over_all_its_keys(server: StubServer, gateway_to: Starts) -> None:
    gateway = gateway_to(server.url, "--tenants-from-headers")
    for number in (1, 2, 3):
        brought = {"x_api_key": f"key-{number}", "x_selected_account_id": "account"}
        assert send(gateway.url, *(span(10 * number + more) for more in range(number)), **brought).status == 200
    assert 'sgp_gateway_spans_total{tenant="account"} 6\n' in metrics_of(gateway)
    assert 'sgp_gateway_records_total{tenant="account",outcome="delivered"} 6\n' in metrics_of(gateway)


def test_an_account_of_more_than_256_characters_is_refused(server: StubServer, gateway_to: Starts) -> None:
    gateway = gateway_to(server.url, "--tenants-from-headers")
    for size, status in ((256, 200), (257, 400)):
        answered = send(gateway.url, span(size), x_api_key="key", x_selected_account_id="a" * size)
        assert answered.status == status
    assert b"x-selected-account-id has more than 256 characters" in answered.body


def test_one_account_that_is_stuck_leaves_room_for_the_others(gateway_to: Starts, named: Path) -> None:
    """However much it sends, it holds no more than is left."""

    def script(request: Request) -> Answer | None:
        stuck = request.headers["x-api-key"] == "key-of-a"
        return Answer(503, {"retry-after": "60"}) if stuck else None

    with StubServer(script) as server:
        gateway = gateway_to(server.url, "--tenants", str(named), "--ack", "accepted", max_records=100)
        statuses = [
            send(gateway.url, *(span(first + more) for more in range(10)), x_sgp_tenant="a").status
            for first in range(1, 200, 10)
        ]
        assert {200, 503} == {*statuses}
        assert 40 <= 10 * statuses.count(200) <= 60
        for first in range(1000, 1200, 10):
            spans = [span(first + more) for more in range(10)]
            wait_until(lambda spans=spans: send(gateway.url, *spans, authorization="Bearer token-of-b").status == 200)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("tenants", "complaint"),
    [
        ("not JSON", "is not JSON"),
        ("[]", "must hold an object"),
        ('{"a": 1}', "must hold an object"),
        ('{"a": {"account_id": "x"}}', "either api_key or api_key_file"),
        ('{"a": {"api_key": "secret", "api_key_file": "f", "account_id": "x"}}', "either api_key or api_key_file"),
        ('{"a": {"api_key": "secret", "account": "x"}}', "a has account; allowed are"),
    ],
)
def test_a_wrong_file_of_tenants_is_explained_without_a_secret(tmp_path: Path, tenants: str, complaint: str) -> None:
    (tmp_path / "tenants.json").write_text(tenants)
    with pytest.raises(ValueError, match=complaint) as error:
        read_tenants(str(tmp_path / "tenants.json"))
    assert "secret" not in str(error.value)


def test_tenants_print_without_their_secrets(server: StubServer, gateway_to: Starts, named: Path) -> None:
    shown = repr(gateway_to(server.url, "--tenants", str(named)).tenants.known())
    assert "account-a" in shown
    assert "key-of" not in shown
    assert "token-of" not in shown
