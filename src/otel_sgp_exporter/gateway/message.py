"""One Kafka message on its way: where it is from, what it holds, and whether it has to be offered again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .decode import Encoding, decode
from .offsets import Offsets
from .receipt import Receipt
from .wire import Incoming, Invalid

_ENCODINGS = {"otlp_proto": Encoding.PROTOBUF, "otlp_json": Encoding.JSON}


@dataclass(eq=False)
class UnderWay:
    """A message under way; `offsets` belong to the assignment under which it came."""

    topic: str
    partition: int
    offset: int
    value: bytes
    headers: list[tuple[str, bytes]]
    key: bytes | None
    offsets: Offsets
    receipt: Receipt | None = None
    not_before: float = 0.0

    @classmethod
    def of(cls, message: Any, offsets: Offsets) -> UnderWay:
        """Of a message of confluent_kafka."""
        return cls(
            message.topic(),
            message.partition(),
            message.offset(),
            message.value() or b"",
            list(message.headers() or ()),
            message.key(),
            offsets,
        )

    @property
    def place(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"

    def named(self) -> dict[str, str]:
        """The headers as a request would have them."""
        return {name.lower(): (value or b"").decode("latin-1") for name, value in self.headers}

    def decoded(self, encoding: str) -> Iterator[Incoming | Invalid]:
        """What it holds. Raises Refusal."""
        return decode(self.value, _ENCODINGS.get(encoding) or _encoding_of(self.value))


def _encoding_of(value: bytes) -> Encoding:
    """A newline is how a request in protobuf begins, whatever comes then: the tag of its first resource spans."""
    is_json = not value.startswith(b"\n") and value.lstrip().startswith(b"{")
    return Encoding.JSON if is_json else Encoding.PROTOBUF
