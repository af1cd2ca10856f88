"""A request's body, read and unpacked within bounds of size, time and memory."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from .refusal import Code, Refusal, malformed, too_large, unavailable

_PIECE_BYTES = 256 * 1024
_ANY_ZLIB = 47  # gzip and zlib, told apart by their beginnings
_PACKED = ("gzip", "deflate", "zlib")


class Reserve:
    """Bytes of memory that bodies may take up together, from their first byte until they are decoded."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        return self._taken

    @contextmanager
    def share(self) -> Iterator[Share]:
        """What one body takes; given back at the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            self.add(-share.bytes)

    def add(self, size: int) -> bool:
        """Take `size` bytes more, or give some back. False, and nothing is taken, when there are not so many."""
        with self._lock:
            if size > 0 and self._taken + size > self.max_bytes:
                return False
            self._taken += size
            return True


class Share:
    """What one body has taken of the reserve."""

    def __init__(self, reserve: Reserve) -> None:
        self._reserve = reserve
        self.bytes = 0

    def take(self, size: int) -> None:
        """Raises Refusal when there is no more."""
        if not self._reserve.add(size):
            raise unavailable("The gateway reads as many bytes at the same time as it may")
        self.bytes += size


async def read_body(
    chunks: AsyncIterator[bytes], encoding: str, share: Share, max_bytes: int, max_seconds: float
) -> bytes:
    """The whole body, unpacked. At no moment is more than `max_bytes` of it in memory, however well it is packed.

    Args:
        chunks: As they come.
        encoding: The request's `content-encoding`.
        share: Is charged with what is read.
        max_bytes: Of the unpacked body.
        max_seconds: From now until the last byte.

    Raises:
        Refusal: It is too large, too slow, packed in another way, broken, or there is no memory for it.
    """
    try:
        return await asyncio.wait_for(_read(chunks, _unpacker(encoding), share, max_bytes), max_seconds)
    except asyncio.TimeoutError:
        raise Refusal(408, Code.DEADLINE_EXCEEDED, f"The body did not come within {max_seconds:g} s") from None


async def _read(chunks: AsyncIterator[bytes], unpacker: Unzip | None, share: Share, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for chunk in chunks:
        for piece in (chunk,) if unpacker is None else unpacker.feed(chunk):
            size += len(piece)
            if size > max_bytes:
                raise too_large(f"The body has more than {max_bytes} bytes")
            share.take(len(piece))
            pieces.append(piece)
    if unpacker is not None and not unpacker.is_complete:
        raise malformed("The packed body ends too early")
    return b"".join(pieces)


def _unpacker(encoding: str) -> Unzip | None:
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in _PACKED:
        raise Refusal(415, Code.INVALID_ARGUMENT, "Content-Encoding must be gzip, deflate or identity")
    return Unzip()


class Unzip:
    """Unpacks gzip or zlib, in pieces, so that a bomb goes off in somebody else's memory."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_ANY_ZLIB)
        self.is_complete = False

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """What `packed` adds. Raises Refusal."""
        while packed:
            if self._stream.eof:  # gzip files may follow each other
                self._stream = zlib.decompressobj(_ANY_ZLIB)
            try:
                piece = self._stream.decompress(packed, _PIECE_BYTES)
            except zlib.error:
                raise malformed("The body is not packed as its Content-Encoding says") from None
            packed = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            self.is_complete = self._stream.eof
            yield piece
