"""Raw servers for what the receiver does not play: they speak no HTTP, or not as a server."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listen(serve: Serve) -> AsyncIterator[int]:
    """The port on which every connection is handed to `serve`, and closed behind it. Waits for all of them."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]  # runs in one
        # the client may have gone, however
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks, timeout=10)
        await server.wait_closed()


@contextlib.contextmanager
def shake_hands(context: ssl.SSLContext) -> Iterator[int]:
    """The port of a server that shakes hands once and, that done or not, waits for the client to go.

    On blocking sockets: unlike asyncio's, they do send the alert that says why a handshake failed.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_shake_hands_once, args=(server, context))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join(30)
            assert not thread.is_alive()


def _shake_hands_once(server: socket.socket, context: ssl.SSLContext) -> None:
    raw, _ = server.accept()
    raw.settimeout(20)
    with context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False) as tls:
        with contextlib.suppress(OSError):
            tls.do_handshake()
        # a close with something unread would be a reset, and might overtake the alert
        with socket.socket(fileno=tls.detach()) as left, contextlib.suppress(OSError):
            while left.recv(4096):
                pass
