"""What `otel-sgp gateway` can be told, beside the variables of the exporter."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from .._config import PROCESSOR_SETTINGS, ProcessorConfig, resolve

_MIB = 1024 * 1024

# Where the exporter's own variables are not set. Requests bring spans in company, so that waiting for more is in vain.
_DEFAULTS = {"schedule_delay_millis": 25.0, "max_queue_size": 100_000, "max_queue_bytes": 256 * _MIB}
_ENGINE_SLACK = 4 / 3
"""The engine sheds ENDs when it is full; so it must not be full before the intake refuses."""


@dataclass(frozen=True)
class KafkaSettings:
    """Where the Collector's Kafka exporter writes. `config` goes to librdkafka as it is, and may hold secrets."""

    brokers: str
    topic: str
    group: str
    encoding: str
    dead_letter_topic: str
    config: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class GatewaySettings:
    """All of it, checked. Its repr holds no secret."""

    host: str
    port: int
    waits: bool
    ack_seconds: float
    drain_seconds: float
    max_body_bytes: int
    max_records: int
    max_bytes: int
    tenants_file: str | None
    tenants_from_headers: bool
    token: str | None = field(repr=False)
    tls_cert: str | None
    tls_key: str | None
    tls_client_ca: str | None
    kafka: KafkaSettings | None

    @property
    def engine(self) -> ProcessorConfig:
        """Of each tenant's pipeline. It closes nobody's spans: they are open in other processes."""
        return ProcessorConfig.from_env(
            schedule_delay_millis=_chosen("schedule_delay_millis"),
            max_queue_size=int(self.max_records * _ENGINE_SLACK),
            max_queue_bytes=int(self.max_bytes * _ENGINE_SLACK),
            cancel_open_spans=False,
        )

    @property
    def is_open(self) -> bool:
        """Whether others than this machine can reach the receiver, and need no certificate."""
        is_local = self.host in ("127.0.0.1", "::1", "localhost")
        return not (is_local or self.tls_client_ca or self.kafka)


def _chosen(argument: str) -> float:
    """From the exporter's variable, or the gateway's own default."""
    setting = next(setting for setting in PROCESSOR_SETTINGS if setting.argument == argument)
    found = resolve(setting)
    value: float = _DEFAULTS[argument] if found.source == "default" else found.value
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line. SGP's address, key and account come from the exporter's variables."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4318, help="0 picks a free one (default: %(default)s)")
    parser.add_argument(
        "--ack",
        choices=("delivered", "accepted"),
        default="delivered",
        help="answer once SGP has taken the spans, or once they are queued (default: %(default)s)",
    )
    parser.add_argument(
        "--ack-timeout",
        type=_positive,
        default=8.0,
        metavar="SECONDS",
        help="then ask the sender to come again; less than the sender's own time-out (default: %(default)g)",
    )
    parser.add_argument(
        "--drain-timeout", type=_positive, default=25.0, metavar="SECONDS", help="at SIGTERM (default: %(default)g)"
    )
    parser.add_argument(
        "--max-body-bytes", type=_count, default=20 * _MIB, metavar="N", help="of a request (default: %(default)d)"
    )
    parser.add_argument("--token-file", metavar="FILE", help="holds the bearer token that senders have to show")
    parser.add_argument("--tenants", metavar="FILE", help="JSON: accounts, chosen by token or the header x-sgp-tenant")
    parser.add_argument(
        "--tenants-from-headers",
        action="store_true",
        help="requests may bring x-api-key and x-selected-account-id of their own",
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="serve https with this certificate chain (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="and this key")
    parser.add_argument("--tls-client-ca", metavar="FILE", help="and ask senders for certificates of this authority")
    _add_kafka_arguments(parser.add_argument_group("Kafka", "read from a topic, and serve health and metrics only"))


def _add_kafka_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--kafka", metavar="BROKERS", help="host:port,...")
    group.add_argument("--topic", default="otlp_spans", help="(default: %(default)s)")
    group.add_argument("--group", default="otel-sgp-gateway", help="consumer group (default: %(default)s)")
    group.add_argument(
        "--encoding",
        choices=("auto", "otlp_proto", "otlp_json"),
        default="auto",
        help="of the messages (default: %(default)s, which tells them apart)",
    )
    group.add_argument(
        "--dead-letter-topic",
        metavar="TOPIC",
        help="for what nobody can deliver; 'none' to log it only (default: the topic's name and -dead-letters)",
    )
    group.add_argument("--kafka-config", metavar="FILE", help="more settings of librdkafka, a key=value per line")


def settings_of(options: argparse.Namespace) -> GatewaySettings:
    """What was given. Raises ValueError and OSError, without a secret in the text."""
    if bool(options.tls_cert) != bool(options.tls_key) or (options.tls_client_ca and not options.tls_cert):
        raise ValueError("--tls-cert and --tls-key belong together, and --tls-client-ca needs both")
    token = Path(options.token_file).read_text().strip() if options.token_file else None
    if options.token_file and not token:
        raise ValueError(f"{options.token_file} holds no token")
    return GatewaySettings(
        host=options.host,
        port=options.port,
        waits=options.ack == "delivered",
        ack_seconds=options.ack_timeout,
        drain_seconds=options.drain_timeout,
        max_body_bytes=options.max_body_bytes,
        max_records=int(_chosen("max_queue_size")),
        max_bytes=int(_chosen("max_queue_bytes")),
        tenants_file=options.tenants,
        tenants_from_headers=options.tenants_from_headers,
        token=token,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        tls_client_ca=options.tls_client_ca,
        kafka=_kafka_settings(options) if options.kafka else None,
    )


def _kafka_settings(options: argparse.Namespace) -> KafkaSettings:
    if not (options.group and options.topic):
        raise ValueError("--group and --topic must not be empty")
    dead_letters = options.dead_letter_topic or f"{options.topic}-dead-letters"
    return KafkaSettings(
        brokers=options.kafka,
        topic=options.topic,
        group=options.group,
        encoding=options.encoding,
        dead_letter_topic="" if dead_letters == "none" else dead_letters,
        config=_read_kafka_config(options.kafka_config) if options.kafka_config else {},
    )


def _read_kafka_config(path: str) -> dict[str, str]:
    config = {}
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        key, equals, value = line.partition("=")
        if line.strip() and not line.lstrip().startswith("#"):
            if not equals:
                raise ValueError(f"{path}, line {number}: this is not key=value")
            config[key.strip()] = value.strip()
    return config


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value
