"""The table that judges an attempt."""

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_sgp_exporter._outcome import Action, DropReason, Reply, TransportError, judge

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("status", "action", "reason"),
    [
        (200, Action.DONE, None),
        (204, Action.DONE, None),
        (301, Action.BLOCK, DropReason.CONFIG),
        (308, Action.BLOCK, DropReason.CONFIG),
        (400, Action.ISOLATE, DropReason.REFUSED),
        (401, Action.BLOCK, DropReason.AUTH),
        (403, Action.BLOCK, DropReason.AUTH),
        (404, Action.BLOCK, DropReason.CONFIG),
        (405, Action.BLOCK, DropReason.CONFIG),
        (407, Action.RETRY, DropReason.BUDGET_SPENT),
        (408, Action.RETRY, DropReason.BUDGET_SPENT),
        (409, Action.ISOLATE, DropReason.REFUSED),
        (413, Action.SHRINK, DropReason.TOO_LARGE),
        (418, Action.REJECT, DropReason.REFUSED),
        (422, Action.ISOLATE, DropReason.REFUSED),
        (425, Action.RETRY, DropReason.BUDGET_SPENT),
        (429, Action.RETRY, DropReason.BUDGET_SPENT),
        (500, Action.RETRY, DropReason.BUDGET_SPENT),
        (501, Action.BLOCK, DropReason.CONFIG),
        (502, Action.RETRY, DropReason.BUDGET_SPENT),
        (503, Action.RETRY, DropReason.BUDGET_SPENT),
        (504, Action.RETRY, DropReason.BUDGET_SPENT),
        (599, Action.RETRY, DropReason.BUDGET_SPENT),
    ],
)
def test_every_status_has_one_verdict(status: int, action: Action, reason: DropReason | None) -> None:
    """The failure policy, line by line."""
    verdict = judge(Reply(status, {}, ""))
    assert (action, reason) == (verdict.action, verdict.reason)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "3600"}, 60),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "junk", "retry-after": "7"}, 7),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:20 GMT"}, 20),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 18:00:00 GMT"}, 60),
    ],
    ids=str,
)
def test_retry_after_is_obeyed_up_to_a_minute(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds or a date; nonsense is as good as nothing."""
    assert seconds == judge(Reply(503, headers, ""), NOW).retry_after_seconds


@pytest.mark.parametrize(
    ("status", "asked", "action"),
    [
        (503, "false", Action.REJECT),
        (422, "true", Action.RETRY),
        (503, "true", Action.RETRY),
        (422, "false", Action.ISOLATE),
        (200, "true", Action.DONE),
    ],
)
def test_the_server_may_decide_on_retries(status: int, asked: str, action: Action) -> None:
    """`x-should-retry` overrules the table."""
    assert action is judge(Reply(status, {"x-should-retry": asked}, "")).action


@pytest.mark.parametrize("body_sent", [True, False])
def test_a_transport_error_is_retried_and_unclear_once_the_body_was_sent(body_sent: bool) -> None:
    """What the server may have applied is told apart from what it cannot have."""
    verdict = judge(TransportError("reset", body_sent=body_sent))
    assert (Action.RETRY, body_sent) == (verdict.action, verdict.unclear)


@given(
    status=st.integers(100, 999),
    headers=st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry"]), st.text()),
    text=st.text(max_size=2000),
)
def test_no_reply_is_beyond_judgement(status: int, headers: dict[str, str], text: str) -> None:
    """Whatever a server says, there is a verdict, and its reason is short."""
    verdict = judge(Reply(status, headers, text))
    assert verdict.retry_after_seconds is None or 0 < verdict.retry_after_seconds <= 60
    assert len(verdict.why) < 600
