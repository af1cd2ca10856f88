"""A member of a consumer group: takes what the Collector's Kafka exporter wrote, and commits what SGP has taken."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from .counts import Counts
from .dead_letters import DeadLetters
from .intake import Intake
from .offsets import Offsets
from .settings import KafkaSettings
from .tenants import Tenants
from .work import Work

_logger = logging.getLogger(__name__)

Place: TypeAlias = tuple[str, int]
"""Topic and partition."""

_POLL_SECONDS = 0.1
_POLL_MESSAGES = 200
_COMMIT_SECONDS = 1.0
_HANDOVER_SECONDS = 10.0

_CONFIG: dict[str, Any] = {
    "auto.offset.reset": "earliest",
    "partition.assignment.strategy": "cooperative-sticky",  # a rebalance stops only the partitions that move
    "queued.max.messages.kbytes": 16 * 1024,
}


class Member:
    """Reads in one thread. A message is committed once all of its spans have come to their end, and so have all before.

    What is killed before it commits leaves its messages to others, who deliver them again: the same ids, the same rows.
    """

    def __init__(self, settings: KafkaSettings, tenants: Tenants, intake: Intake, counts: Counts) -> None:
        brokers = {"bootstrap.servers": settings.brokers}
        ours = {"group.id": settings.group, "enable.auto.commit": False, "on_commit": self._on_commit}
        self._topic = settings.topic
        try:
            self._consumer = Consumer({**_CONFIG, **settings.config, **brokers, **ours}, logger=_logger)
        except KafkaException as error:
            raise ValueError(f"Kafka: {error.args[0].str()}") from None
        self._work = Work(
            settings.encoding,
            tenants,
            intake,
            lambda buried: DeadLetters({**settings.config, **brokers}, settings.dead_letter_topic, buried),
            counts,
        )
        self._counts = counts
        self._offsets: dict[Place, Offsets] = {}
        self._paused: bool | None = None  # None: some partitions may be, others not
        self._next_commit = 0.0
        self._joined = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sgp-gateway-kafka", daemon=True)
        self.failure = ""
        """What only a new process can mend."""

    @property
    def complaint(self) -> str:
        """Why it does not read; empty when it does."""
        return "" if self._joined else "not yet a member of the consumer group"

    def start(self) -> None:
        """Join the group."""
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Read no more, deliver what is under way, commit, leave the group."""
        self._stopping.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
            )
            while not self._stopping.is_set():
                self._turn()
        except Exception as error:
            self.failure = f"Kafka: {error}"
            _logger.exception("The Kafka consumer has failed")
        finally:
            self._consumer.close()  # takes all partitions away, which is where they are finished

    def _turn(self) -> None:
        self._work.turn()
        if time.monotonic() >= self._next_commit:
            self._next_commit = time.monotonic() + _COMMIT_SECONDS
            self._commit(list(self._offsets), wait=False)
            self._measure()
        if self._work.is_full != self._paused:  # without room, keep the membership and fetch nothing
            self._paused = self._work.is_full
            (self._consumer.pause if self._paused else self._consumer.resume)(self._consumer.assignment())
        for message in self._consumer.consume(_POLL_MESSAGES, _POLL_SECONDS):
            if (error := message.error()) is not None:
                _complain(error)
            elif offsets := self._offsets.get((str(message.topic()), int(message.partition() or 0))):
                self._work.begin(message, offsets)

    def _commit(self, places: list[Place], *, wait: bool) -> None:
        due = {place: self._offsets[place].to_commit() for place in places}
        offsets = [TopicPartition(*place, offset) for place, offset in due.items() if offset is not None]
        if not offsets:
            return
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets)
        except KafkaException as error:
            _logger.warning("Offsets are not committed: %s", error)
            return
        for each in offsets:
            self._offsets[each.topic, each.partition].committed(each.offset)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Of a commit that nobody waited for: when it has failed, the next one says it again."""
        if error is None:
            return
        _logger.warning("Offsets are not committed: %s", error)
        for each in partitions:
            if offsets := self._offsets.get((each.topic, each.partition)):
                offsets.committed(-1)

    def _measure(self) -> None:
        self._joined = bool(self._consumer.memberid())
        self._counts.set("kafka_partitions", len(self._offsets))
        self._counts.forget("kafka_lag")
        for (topic, partition), offsets in self._offsets.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            if high >= 0 and offsets.position is not None:
                self._counts.set("kafka_lag", max(high - offsets.position, 0), topic=topic, partition=str(partition))

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _logger.info("Partitions assigned: %s", _listed(partitions))
        for each in partitions:
            self._offsets[each.topic, each.partition] = Offsets()
        self._paused = None

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Wait for what is in flight from them, and commit: whoever is next begins after it.

        A START that is still on its way could otherwise land after the END that the next owner delivers.
        """
        _logger.info("Partitions taken away: %s", _listed(partitions))
        places = self._known(partitions)
        self._work.finish(
            [self._offsets[place] for place in places], time.monotonic() + _HANDOVER_SECONDS, _POLL_SECONDS
        )
        self._commit(places, wait=True)
        for place in places:
            del self._offsets[place]

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Somebody else has them already."""
        _logger.warning("Partitions lost: %s", _listed(partitions))
        self._work.forget([self._offsets.pop(place) for place in self._known(partitions)])

    def _known(self, partitions: list[TopicPartition]) -> list[Place]:
        return [place for each in partitions if (place := (each.topic, each.partition)) in self._offsets]


def _complain(error: KafkaError) -> None:
    if error.fatal():
        raise KafkaException(error)
    if error.code() != KafkaError._PARTITION_EOF:
        _logger.warning("Kafka: %s", error)


def _listed(partitions: list[TopicPartition]) -> str:
    return ", ".join(f"{each.topic}[{each.partition}]" for each in partitions) or "none"
