"""Settings: arguments, then variables, then defaults."""

import logging
from typing import Any

import pytest

from otel_sgp_exporter._config import EXPORTER_SETTINGS, PROCESSOR_SETTINGS, UNSET, ExporterConfig, ProcessorConfig

CREDENTIALS = {"api_key": "k", "account_id": "a"}
DEFAULTS = ProcessorConfig(
    max_queue_size=20_000,
    schedule_delay_millis=250,
    max_export_batch_size=200,
    export_timeout_millis=30_000,
    max_concurrent_exports=8,
    max_queue_bytes=64 * 2**20,
    start_delay_millis=0,
    cancel_open_spans=True,
    spool=None,
)


def test_defaults() -> None:
    """Nothing set but the credentials."""
    config = ExporterConfig.from_env(**CREDENTIALS)
    assert config == ExporterConfig(
        endpoint="https://api.egp.scale.com",
        api_key="k",
        account_id="a",
        headers={},
        timeout_millis=10_000,
        max_request_bytes=4 * 2**20,
        compression="none",
        hide_inputs=False,
        hide_outputs=False,
        remote_parent="auto",
        export_timeout_millis=30_000,
    )
    assert ProcessorConfig.from_env() == DEFAULTS


def test_arguments_win_over_our_variables_which_win_over_sgp_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented precedence, with blank meaning unset at every step."""
    monkeypatch.setenv("SGP_API_KEY", "from-sgp")
    monkeypatch.setenv("SGP_ACCOUNT_ID", "account")
    assert ExporterConfig.from_env().api_key == "from-sgp"
    monkeypatch.setenv("OTEL_EXPORTER_SGP_API_KEY", "  ")
    assert ExporterConfig.from_env(api_key=" ").api_key == "from-sgp"
    monkeypatch.setenv("OTEL_EXPORTER_SGP_API_KEY", " from-ours\n")
    assert ExporterConfig.from_env().api_key == "from-ours"
    assert ExporterConfig.from_env(api_key="from-argument").api_key == "from-argument"


def test_a_missing_key_and_account_are_one_error_that_names_the_variables() -> None:
    """Whoever reads it knows what to set."""
    with pytest.raises(ValueError, match=r"api_key .*OTEL_EXPORTER_SGP_API_KEY or SGP_API_KEY.*account_id .*SGP_ACC"):
        ExporterConfig.from_env()
    with pytest.raises(ValueError, match=r"^SGPSpanExporter needs account_id"):
        ExporterConfig.from_env(api_key="k")


@pytest.mark.parametrize(
    ("argument", "value", "complaint"),
    [
        ("endpoint", "api.egp.scale.com", "endpoint must be an http:// or https:// URL."),
        ("endpoint", "http//typo", "endpoint must be an http:// or https:// URL."),
        ("endpoint", "http://host:port", "endpoint must be an http:// or https:// URL."),
        ("endpoint", "http://host:0", "endpoint must be an http:// or https:// URL."),
        ("endpoint", "http://[::1", "endpoint must be an http:// or https:// URL."),
        ("endpoint", "http://a host", "endpoint must be an http:// or https:// URL."),
        ("endpoint", "http://a\thost", "endpoint must be an http:// or https:// URL."),
        ("endpoint", "http://host/?query", "endpoint must be an http:// or https:// URL."),
        ("api_key", "two words", "api_key must be printable ASCII without spaces."),
        ("api_key", 7, "api_key must be printable ASCII without spaces."),
        ("timeout_millis", 0, "timeout_millis must be positive."),
        ("timeout_millis", "soon", "timeout_millis must be a number."),
        ("timeout_millis", float("inf"), "timeout_millis must be a finite number."),
        ("max_request_bytes", 1.5, "max_request_bytes must be a positive integer."),
        ("compression", "zstd", "compression must be 'none' or 'gzip'."),
        ("headers", {"bad\nname": "x"}, "headers must be k=v,k2=v2 in printable ASCII."),
        ("headers", {"bad name": "x"}, "headers must be k=v,k2=v2 in printable ASCII."),
        ("headers", [("k", "v")], "headers must be a mapping, or k=v,k2=v2."),
        pytest.param("timeout_millis", 10**400, "timeout_millis must be a number.", id="more than a float holds"),
    ],
)
def test_a_bad_argument_raises_and_names_the_field(argument: str, value: Any, complaint: str) -> None:
    """The whole message, since people paste it into a search box."""
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # compared whole below
        ExporterConfig.from_env(**{**CREDENTIALS, argument: value})
    assert complaint == str(raised.value)


def test_a_bad_variable_warns_and_falls_back(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A typo in a deployment must not stop the application."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "-5")
    monkeypatch.setenv("OTEL_EXPORTER_SGP_START_DELAY", "later")
    assert ProcessorConfig.from_env() == DEFAULTS
    assert [record.getMessage() for record in caplog.records] == [
        "OTEL_BSP_MAX_QUEUE_SIZE is ignored: it must be a number.",
        "OTEL_BSP_SCHEDULE_DELAY is ignored: it must be positive.",
        "OTEL_EXPORTER_SGP_START_DELAY is ignored: it must be a number.",
    ]


@pytest.mark.parametrize(
    ("value", "millis"), [(UNSET, 250.0), (None, None), ("off", None), ("OFF", None), (0, 0.0), ("100", 100.0)]
)
def test_the_start_delay_knows_off(monkeypatch: pytest.MonkeyPatch, value: Any, millis: float | None) -> None:
    """None as an argument means off; only leaving it out asks the environment."""
    monkeypatch.setenv("OTEL_EXPORTER_SGP_START_DELAY", "250")
    assert millis == ProcessorConfig.from_env(start_delay_millis=value).start_delay_millis


def test_a_small_queue_shrinks_the_default_batch() -> None:
    """Only a batch size that someone chose can be wrong."""
    assert ProcessorConfig.from_env(max_queue_size=50).max_export_batch_size == 50


def test_a_batch_is_at_most_what_the_server_takes(caplog: pytest.LogCaptureFixture) -> None:
    """1000 is SGP's limit; 2048 was fine with the stock processor."""
    assert ProcessorConfig.from_env(max_export_batch_size=2048).max_export_batch_size == 1000
    assert "2048" in caplog.text


def test_a_timeout_that_looks_like_seconds_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    """OTLP in Python counts seconds; we count milliseconds."""
    ExporterConfig.from_env(**CREDENTIALS, timeout_millis=10)
    assert "milliseconds, not seconds" in caplog.text


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("a=1,b=two%20words", {"a": "1", "b": "two words"}),
        ("X-A: 1\nX-B: with: colon", {"x-a": "1", "x-b": "with: colon"}),
        ("token=a:b=c", {"token": "a:b=c"}),
    ],
)
def test_headers_come_in_two_forms(monkeypatch: pytest.MonkeyPatch, text: str, headers: dict[str, str]) -> None:
    """OpenTelemetry's list, and the official client's lines."""
    monkeypatch.setenv("SGP_CLIENT_CUSTOM_HEADERS", text)
    assert headers == ExporterConfig.from_env(**CREDENTIALS).headers


def test_secrets_are_in_no_repr() -> None:
    """A config in a log shows neither key nor headers."""
    shown = repr(ExporterConfig.from_env(api_key="the-key", account_id="a", headers={"x-auth": "the-header"}))
    assert "the-key" not in shown
    assert "the-header" not in shown


def test_every_setting_says_what_it_means() -> None:
    """A sentence each, and no two for one argument."""
    for settings in (EXPORTER_SETTINGS, PROCESSOR_SETTINGS):
        assert len({setting.argument for setting in settings}) == len(settings)
        assert all(setting.meaning.endswith(".") and setting.variables for setting in settings)


def test_nothing_is_logged_about_good_settings(caplog: pytest.LogCaptureFixture) -> None:
    """Silence when all is well."""
    with caplog.at_level(logging.DEBUG):
        ExporterConfig.from_env(**CREDENTIALS)
        ProcessorConfig.from_env()
    assert caplog.records == []
