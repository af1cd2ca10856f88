"""Where messages go that nobody can deliver: a topic of their own, with the reason, and the partition goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from .message import UnderWay

_logger = logging.getLogger(__name__)

_MAX_REASON_BYTES = 4_096
_LARGEST_MESSAGE_BYTES = 100 * 1024 * 1024  # the broker is to say what it does not take


class DeadLetters:
    """Buries messages. Called in the thread that polls.

    Args:
        config: Of the producer.
        topic: Empty to write nothing, and only log.
        buried: Told once a message is safe in the topic: only then may its offset be committed.
    """

    def __init__(self, config: Mapping[str, Any], topic: str, buried: Callable[[UnderWay, str], object]) -> None:
        self._config = {"message.max.bytes": _LARGEST_MESSAGE_BYTES, **config}
        self._topic = topic
        self._buried = buried
        self._producer: Producer | None = None

    def bury(self, under: UnderWay, why: str) -> None:
        """Write `under` to the topic, with the reason in its headers."""
        _logger.error("Kafka message %s cannot be delivered: %s", under.place, why)
        if self._topic:
            self._write(under, why, under.value)
        else:
            self._buried(under, "discarded")

    def _write(self, under: UnderWay, why: str, value: bytes | None) -> None:
        headers: list[tuple[str, Any]] = [
            *under.headers,
            ("sgp.error", why.encode()[:_MAX_REASON_BYTES]),
            ("sgp.place", under.place.encode()),
        ]

        def written(error: KafkaError | None, message: object) -> None:
            if error is None:
                self._buried(under, "dead")
            elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE and value is not None:
                self._write(under, why, None)  # where it is from says where it still can be read
            else:
                _logger.warning("Dead letter %s is not written, and tried again: %s", under.place, error)
                self._write(under, why, value)

        producer = self._producer = self._producer or Producer(self._config, logger=_logger)
        while True:
            try:
                producer.produce(self._topic, value, under.key, on_delivery=written, headers=headers)
                return
            except BufferError:
                producer.poll(0.5)
            except KafkaException as error:
                written(error.args[0], None)
                return

    def poll(self) -> None:
        """Hear what has become of those written."""
        if self._producer is not None:
            self._producer.poll(0)
