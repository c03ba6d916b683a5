"""The receiver itself: listens, and lets a test write its scripts and read its books."""

import asyncio
import ssl

from tests.support.receiver.answers import Ok
from tests.support.receiver.books import Books, Load
from tests.support.receiver.connection import Connection
from tests.support.receiver.requests import Journal, ReceivedRequest
from tests.support.receiver.script import Scripts, Step

HOST = "127.0.0.1"


class Receiver:
    """An async context manager. Listens on `port` (0: any free one) of loopback; `name` is the host in its URLs.

    A path without a script gets `default`. With `tls` it speaks HTTPS.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        name: str = HOST,
        default: Step = Ok(),  # noqa: B008 - immutable
        tls: ssl.SSLContext | None = None,
        journal: Journal | None = None,
        keeps_requests: bool = True,
    ) -> None:
        self.port = port
        self._name = name
        self._tls = tls
        self._books = Books(scripts=Scripts(default), journal=journal, keeps_requests=keeps_requests)
        self._connections: set[Connection] = set()
        self._connections_made = 0

    async def __aenter__(self) -> "Receiver":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, HOST, self.port, ssl=self._tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in list(self._connections):
            await connection.abort()
        await self._server.wait_closed()

    def url(self, path: str = "/") -> str:
        return f"{'https' if self._tls else 'http'}://{self._name}:{self.port}{path}"

    def script(self, path: str, *steps: Step) -> None:
        """Say how requests of `path` are answered from now on: step by step, the last one for ever.

        A path that ends in `*` stands for all that start like it, each with a script of its own.
        """
        self._books.scripts.set(path, steps)

    def requests(self, path: str | None = None) -> list[ReceivedRequest]:
        """Requests that were received, in order: of one path, or of all."""
        return [request for request in self._books.requests if path is None or request.path == path]

    @property
    def received(self) -> int:
        """Number of requests received, also when they are not kept."""
        return self._books.received

    @property
    def malformed(self) -> list[str]:
        """Input that was no HTTP request, in the parser's words; it was answered with 400."""
        return list(self._books.malformed)

    @property
    def open_requests(self) -> int:
        """Requests received whole and not answered whole, now."""
        return self._books.total.now

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def max_open(self, path: str | None = None) -> int:
        """The most requests that were in flight at one time: of one path, or of all together."""
        return self._books.total.most if path is None else self._books.loads.get(path, Load()).most

    def sent_bytes(self, path: str) -> int:
        """Bytes written in answer to `path`: what the client read, and what still sat in buffers on the way."""
        return self._books.sent_bytes[path]

    def _connect(self) -> Connection:
        self._connections_made += 1
        return Connection(self._connections_made, self._books, self._connections)
