"""Checklist item 32: credentials do not reach the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sgp_client import Sgp, started

REDACTED = "[REDACTED:credential]"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-def"


@pytest.mark.parametrize("secret", ["Bearer x", JWT, "sk-proj-0123456789abcdef", "postgres://u:p@h/db"])
def test_credential_shapes(sgp: Sgp, secret: str) -> None:
    """Item 32: replaced in all five places and at any depth, stored and echoed, the text around them kept."""
    free_form = {"deep": [{"value": secret}], "text": f"see {secret} there"}
    item = started(name=secret, input=free_form, output=free_form, metadata=free_form, expected=free_form)
    for span in (sgp.put_ok(item)[0], sgp.get("s")):
        assert span["name"] == REDACTED
        for field in ("input", "output", "metadata", "expected"):
            assert span[field] == {"deep": [{"value": REDACTED}], "text": f"see {REDACTED} there"}


@pytest.mark.parametrize("key", ["api_key", "password", "Authorization", "secret", "client_secret", "db.password"])
@pytest.mark.parametrize("value", ["hunter2", 7, {"a": 1}, ["x"]])
def test_credential_names(sgp: Sgp, key: str, value: Any) -> None:
    """Item 32: whatever is kept under such a name."""
    assert sgp.put_ok(started(metadata={key: value}))[0]["metadata"] == {key: REDACTED}


def test_what_is_no_credential(sgp: Sgp) -> None:
    """Item 32: plain text, token counts, nothing at all, and words that only contain such a name."""
    plain = {
        "input_tokens": 12,
        "text": "the password is secret, mail a@b.c, see https://host:8080/path",
        "password": None,
        "secretary": "Ann",
        "nosecret": "x",
    }
    assert sgp.put_ok(started(metadata=plain, input=plain))[0]["metadata"] == plain


def test_redaction_off(serve: Callable[..., Sgp]) -> None:
    """Item 32: nothing is replaced."""
    metadata = {"api_key": "x", "auth": "Bearer x"}
    assert serve(redaction="off").put_ok(started(metadata=metadata))[0]["metadata"] == metadata


def test_own_patterns(serve: Callable[..., Sgp]) -> None:
    """Item 32: the patterns and the names can be replaced."""
    sgp = serve(redaction_patterns=(("X-", "X-[0-9]+"),), redaction_names=("pin",))
    metadata = {"a": "X-12 Bearer x", "pin": 1234, "secret": "s"}
    kept = {"a": f"{REDACTED} Bearer x", "pin": REDACTED, "secret": "s"}
    assert sgp.put_ok(started(metadata=metadata))[0]["metadata"] == kept
