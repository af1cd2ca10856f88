"""A Kafka cluster in this process: the one that librdkafka brings along for its own tests, over the real protocol."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

confluent_kafka = pytest.importorskip("confluent_kafka", reason="needs the extra [kafka]")

from confluent_kafka import Consumer, Message, Producer, TopicPartition  # noqa: E402

PARTITIONS = 4  # of the topics that it makes by itself


class Cluster:
    """Its brokers live as long as this producer."""

    def __init__(self, brokers: int) -> None:
        self._host = Producer({"bootstrap.servers": "nobody", "test.mock.num.brokers": brokers, "log_level": 0})
        known = self._host.list_topics(timeout=10).brokers.values()
        self.address = ",".join(f"{broker.host}:{broker.port}" for broker in known)

    def write(self, topic: str, messages: Sequence[tuple[bytes, bytes]], **fields: Any) -> None:
        """Messages of a key and a value; returns once the brokers have all of them."""
        producer = Producer({"bootstrap.servers": self.address, "log_level": 0})
        for key, value in messages:
            producer.produce(topic, value, key, **fields)
            producer.poll(0)
        assert producer.flush(30) == 0

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """By partition; those of which nothing is committed are left out."""
        with self._reader(group) as reader:
            asked = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            return {each.partition: each.offset for each in reader.committed(asked, timeout=10) if each.offset >= 0}

    def ends(self, topic: str) -> dict[int, int]:
        """The offset after the last message of each partition that has any."""
        with self._reader("nobody") as reader:
            ends = {
                number: reader.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
                for number in range(PARTITIONS)
            }
            return {number: end for number, end in ends.items() if end}

    def read(self, topic: str, count: int) -> list[Message]:
        """The first `count` messages of a topic."""
        with self._reader("reader") as reader:
            reader.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
            messages: list[Message] = []
            deadline = time.monotonic() + 30
            while len(messages) < count and time.monotonic() < deadline:
                messages += [each for each in reader.consume(count, 0.5) if each.error() is None]
            return messages

    @contextlib.contextmanager
    def _reader(self, group: str) -> Iterator[Consumer]:
        config = {"bootstrap.servers": self.address, "group.id": group, "enable.auto.commit": False, "log_level": 0}
        with contextlib.closing(Consumer(config)) as reader:
            yield reader


@contextlib.contextmanager
def cluster(brokers: int = 1) -> Iterator[Cluster]:
    """Its own thread has to be served now and then, which a thread does."""
    made = Cluster(brokers)
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.wait(0.2):
            made._host.poll(0)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        stopping.set()
        thread.join()
