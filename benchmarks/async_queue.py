"""A model of the upstream asyncio span queue (scale-agentex-python 0.13 to 0.22): its published defaults and its order.

It is a model because the package needs a newer Python than we start at, and a hundred others: batches of 200, a linger
of 250 ms, 3 requests in flight, no bound, STARTs and ENDs in separate requests, each END request waiting (and holding
its place in flight) for every START request that was in flight. The client below it is the real one. START requests
are on here; upstream ships them off.
"""

import asyncio
import threading
from typing import Any

import httpx
from scale_gp_beta import AsyncSGPClient

BATCH, LINGER_SECONDS, IN_FLIGHT = 200, 0.25, 3

Item = dict[str, Any]


class AsyncQueue:
    """Sends from the event loop that runs where it is made; from a thread with a loop of its own if none does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._queue: asyncio.Queue[Item] = asyncio.Queue()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._starts_in_flight: set[asyncio.Task[None]] = set()
        self.pending = 0
        try:
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._drain())
        except RuntimeError:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True).start()
            asyncio.run_coroutine_threadsafe(self._drain(), self._loop)

    def put(self, item: Item) -> None:
        """From any thread; the application of upstream is on the loop itself, where it is one call."""
        self.pending += 1
        if asyncio._get_running_loop() is self._loop:
            self._queue.put_nowait(item)
        else:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def _drain(self) -> None:
        http = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=20))
        self._client = AsyncSGPClient(api_key="k", account_id="a", base_url=self._url, http_client=http)
        while True:
            await self._until_there_is_room()
            batch = await self._batch()
            starts = [item for item in batch if "end_timestamp" not in item]
            ends = [item for item in batch if "end_timestamp" in item]
            if starts:
                self._starts_in_flight.add(task := self._dispatch(starts, ()))
                task.add_done_callback(self._starts_in_flight.discard)
            if ends:
                await self._until_there_is_room()
                self._dispatch(ends, tuple(self._starts_in_flight))

    async def _until_there_is_room(self) -> None:
        while len(self._in_flight) >= IN_FLIGHT:
            await asyncio.wait(set(self._in_flight), return_when=asyncio.FIRST_COMPLETED)

    async def _batch(self) -> list[Item]:
        batch = [await self._queue.get()]
        deadline = self._loop.time() + LINGER_SECONDS
        while len(batch) < BATCH and (left := deadline - self._loop.time()) > 0:
            try:
                batch.append(await asyncio.wait_for(self._queue.get(), left))
            except asyncio.TimeoutError:
                break
        return batch

    def _dispatch(self, items: list[Item], barrier: tuple[asyncio.Task[None], ...]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._send(items, barrier))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        return task

    async def _send(self, items: list[Item], barrier: tuple[asyncio.Task[None], ...]) -> None:
        if barrier:
            await asyncio.gather(*barrier, return_exceptions=True)
        try:
            await self._client.spans.upsert_batch(items=items)  # type: ignore[arg-type]
        finally:
            self.pending -= len(items)
