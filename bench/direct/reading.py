"""Kept connections that read the API, as cheap as those of the generator."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from bench.instruments.client import NO_ANSWER, ClientConnection

FOUND = 200


class ReadConnection:
    """One request at a time. Opened when it is needed."""

    def __init__(self, api: str, token: str) -> None:
        place = urlsplit(api)
        self._host, self._port = place.hostname or "127.0.0.1", place.port or 80
        self._path = place.path
        self._rest = f" HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._client: ClientConnection | None = None
        self._answer: asyncio.Future[int] | None = None

    async def read(self, target: str) -> bool:
        """`target`: below the API's path. Was it answered with 200, and the body read?"""
        loop = asyncio.get_running_loop()
        try:
            if self._client is None or not self._client.is_open:
                _, self._client = await loop.create_connection(
                    lambda: ClientConnection(self._take), self._host, self._port
                )
        except OSError:
            return False
        self._answer = loop.create_future()
        self._client.send(0, f"GET {self._path}{target}{self._rest}".encode())
        return await self._answer == FOUND

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _take(self, _: ClientConnection, status: int, body: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status or NO_ANSWER)


@asynccontextmanager
async def open_connections(api: str, token: str, count: int) -> AsyncIterator[Sequence[ReadConnection]]:
    """Open a number of connections; they are closed in the end."""
    connections = [ReadConnection(api, token) for _ in range(count)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()
