"""A TCP proxy that breaks on command: connections cut, bytes late, a network that swallows everything."""

import asyncio
import socket
import struct
from collections.abc import Iterable

CHUNK_MAX_BYTES = 64 * 1024
CHUNKS_MAX = 64  # on their way in one direction; more are not read, so that the sender feels it
HOST = "127.0.0.1"


class TcpProxy:
    """Stands before `target_host:target_port`, at `host:port`. An async context manager.

    The faults apply to connections that exist and to new ones, until `restore()`.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self.host = HOST
        self.port = 0
        self._target = (target_host, target_port)
        self._delay_s = 0.0
        self._is_cut = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    async def __aenter__(self) -> "TcpProxy":
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._reset_all()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def cut(self) -> None:
        """Reset every connection (RST to both sides), and every new one as soon as it is made."""
        self._is_cut = True
        self._reset_all()

    def delay(self, delay_s: float) -> None:
        """Hand every byte on `delay_s` after it came, in both directions; the throughput stays."""
        self._delay_s = delay_s

    def blackhole(self) -> None:
        """Hand on nothing, not even an end. Bytes are kept, as TCP would send them again: `restore()` brings them."""
        self._flowing.clear()

    def restore(self) -> None:
        """End all faults."""
        self._is_cut = False
        self._delay_s = 0.0
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        writers = self._connections[task] = [writer]
        try:
            if self._is_cut:
                raise ConnectionResetError
            await self._flowing.wait()
            target_reader, target_writer = await asyncio.open_connection(*self._target)
            writers.append(target_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, target_writer))
                both.create_task(self._pass_on(target_reader, writer))
            await _close(writers)
        except* (OSError, asyncio.CancelledError):
            pass  # one side was reset or is gone, or we were cut: the other side learns it below
        finally:
            _reset(writers)
            del self._connections[task]

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction, until its end, which is handed on as well."""
        loop = asyncio.get_running_loop()
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_MAX)

        async def read() -> None:
            while True:
                await self._flowing.wait()
                chunk = await reader.read(CHUNK_MAX_BYTES)
                await on_the_way.put((loop.time() + self._delay_s, chunk))
                if not chunk:
                    return

        async def write() -> None:
            while True:
                due_s, chunk = await on_the_way.get()
                await asyncio.sleep(max(due_s - loop.time(), 0))
                await self._flowing.wait()
                if not chunk:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(write())

    def _reset_all(self) -> None:
        for task, writers in self._connections.items():
            _reset(writers)
            task.cancel()


async def _close(writers: Iterable[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


def _reset(writers: Iterable[asyncio.StreamWriter]) -> None:
    """Close with RST instead of FIN, as a machine does that has lost its state: no linger, nothing flushed."""
    for writer in writers:
        if not writer.is_closing():
            no_linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
            writer.transport.abort()
