"""The messages of one member that are under way: offered, waiting for room or a second attempt, or ended."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection
from queue import Empty, Queue
from typing import Any

from .counts import Counts
from .dead_letters import DeadLetters
from .intake import Intake
from .message import UnderWay
from .offsets import Offsets
from .refusal import Refusal, described
from .tenants import Tenants

_logger = logging.getLogger(__name__)

_AGAIN_SECONDS = 1.0  # after SGP has not taken them
_ROOM_SECONDS = 0.05  # while there is no room
_MAX_BYTES = 64 * 1024 * 1024
_MAX_MESSAGES = 10_000


class Work:
    """Belongs to the thread that polls; only the ends come from others.

    Args:
        encoding: Of the messages.
        tenants: Whose they are, by their headers.
        intake: Takes their spans.
        dead_letters: Makes the place for what cannot be delivered, given whom to tell.
        counts: Counts.
    """

    def __init__(
        self,
        encoding: str,
        tenants: Tenants,
        intake: Intake,
        dead_letters: Callable[[Callable[[UnderWay, str], object]], DeadLetters],
        counts: Counts,
    ) -> None:
        self._encoding = encoding
        self._tenants = tenants
        self._intake = intake
        self._counts = counts
        self._dead_letters = dead_letters(self._settled)
        self._waiting: deque[UnderWay] = deque()  # there was no room, or SGP did not take them
        self._ended: Queue[UnderWay] = Queue()
        self._messages = 0
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """True when no more messages should come for now."""
        return bool(self._waiting) or self._bytes > _MAX_BYTES or self._messages > _MAX_MESSAGES

    def begin(self, message: Any, offsets: Offsets) -> None:
        """A message of confluent_kafka came, of the partition that `offsets` follow."""
        under = UnderWay.of(message, offsets)
        offsets.begin(under.offset)
        self._messages += 1
        self._bytes += len(under.value)
        if self._waiting:
            self._waiting.append(under)  # in order
        else:
            self._offer(under)

    def turn(self, timeout_seconds: float = 0) -> None:
        """Hear of ends, waiting for the first one at most so long, and offer again what is due."""
        try:
            while True:
                self._heard(self._ended.get(timeout_seconds > 0, timeout_seconds or None))
                timeout_seconds = 0
        except Empty:
            pass
        self._dead_letters.poll()
        while self._waiting and self._waiting[0].not_before <= time.monotonic():
            first = self._waiting.popleft()
            self._offer(first)
            if self._waiting and self._waiting[0] is first:
                return  # no room yet

    def finish(self, wanted: Collection[Offsets], deadline: float, poll_seconds: float) -> None:
        """Wait until nothing of these is in flight, without offering any of it again."""
        self.forget(wanted)
        while any(offsets.in_flight for offsets in wanted) and (left := deadline - time.monotonic()) > 0:
            self.turn(min(left, poll_seconds))
            self.forget(wanted)

    def forget(self, wanted: Collection[Offsets]) -> None:
        """What waits and is of these is another member's."""
        for under in [under for under in self._waiting if under.offsets in wanted]:
            self._waiting.remove(under)
            self._gone(under)

    def _offer(self, under: UnderWay) -> None:
        under.offsets.in_flight += 1
        try:
            tenant = self._tenants.tenant_named(under.named())
            spans = under.decoded(self._encoding)
            under.receipt = self._intake.take(tenant, spans, lambda: self._ended.put(under))
        except Refusal as refusal:
            if refusal.retry_after_seconds is None:
                self._dead_letters.bury(under, str(refusal))
            else:
                self._wait(under, _ROOM_SECONDS)
                self._waiting.rotate()  # it stays the first
            return
        except Exception as error:  # a defect of ours: else the message would end every member that reads it
            _logger.error("Kafka message %s cannot be taken: %s", under.place, described(error))
            self._dead_letters.bury(under, type(error).__name__)
            return
        if not under.receipt.records:
            self._ended.put(under)

    def _wait(self, under: UnderWay, seconds: float) -> None:
        under.offsets.in_flight -= 1
        under.not_before = time.monotonic() + seconds
        self._waiting.append(under)

    def _heard(self, under: UnderWay) -> None:
        receipt = under.receipt
        if receipt is None:  # buried meanwhile
            return
        if receipt.undelivered is not None:
            self._wait(under, _AGAIN_SECONDS)
        elif receipt.rejections.count:
            self._counts.add("spans_rejected", receipt.rejections.count)
            self._dead_letters.bury(under, str(receipt.rejections))
        else:
            self._settled(under, "delivered")

    def _settled(self, under: UnderWay, how: str) -> None:
        under.offsets.in_flight -= 1
        under.offsets.settle(under.offset)
        self._counts.add("messages", how=how)
        self._gone(under)

    def _gone(self, under: UnderWay) -> None:
        self._messages -= 1
        self._bytes -= len(under.value)
