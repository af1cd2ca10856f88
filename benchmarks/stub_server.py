"""A server for benchmarks, in a process of its own: reads a PUT, waits, answers 200, remembers when.

    python stub_server.py LATENCY_SECONDS

prints its port, then, when its standard input is closed, one line of JSON with what it saw.
"""

import asyncio
import json
import sys
import time

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 28\r\n\r\n{"object":"list","items":[]}'


class Stub:
    def __init__(self, latency_seconds: float) -> None:
        self.latency_seconds = latency_seconds
        self.requests: list[tuple[float, float, int]] = []  # when it had come, when it was answered, body bytes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                began = time.monotonic()
                await asyncio.sleep(self.latency_seconds)
                writer.write(ANSWER)
                self.requests.append((began, time.monotonic(), length))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def most_in_flight(self) -> int:
        most = now = 0
        for _, change in sorted(event for began, ended, _ in self.requests for event in ((began, 1), (ended, -1))):
            now += change
            most = max(most, now)
        return most


async def main(latency_seconds: float) -> None:
    stub = Stub(latency_seconds)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0, limit=2**24)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps({"requests": stub.requests, "most_in_flight": stub.most_in_flight()}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
