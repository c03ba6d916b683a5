import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.eventually import eventually
from tests.support.proxy import TcpProxy


@asynccontextmanager
async def echo_behind_proxy() -> AsyncIterator[TcpProxy]:
    """A proxy before a server that says everything twice is once, and ends when the client does."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


async def read_one(proxy: TcpProxy) -> bytes:
    """A byte from a new connection."""
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        return await reader.readexactly(1)
    finally:
        writer.close()


async def test_bytes_pass_through_unchanged_until_the_end() -> None:
    """Much in both directions at once, and the end of one side reaches the other."""
    sent = bytes(range(256)) * 20_000
    async with echo_behind_proxy() as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(sent)
        writer.write_eof()
        received = await reader.read()
        writer.close()

        assert sent == received
        await eventually(lambda: proxy.open_connections == 0)


async def test_cut_resets_old_and_new_connections_until_restored() -> None:
    """An RST, not an orderly end."""
    async with echo_behind_proxy() as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"

        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        with pytest.raises(ConnectionResetError):
            await read_one(proxy)

        proxy.restore()
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"
        writer.close()


async def test_a_blackhole_swallows_and_restore_brings_back() -> None:
    """Nothing arrives and neither side gets an error; afterwards the stream goes on without a gap, as TCP would."""
    async with echo_behind_proxy() as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        proxy.blackhole()
        writer.write(b"old")
        new_reader, new_writer = await asyncio.open_connection(proxy.host, proxy.port)
        new_writer.write(b"new")
        for silent in (reader, new_reader):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(silent.readexactly(1), 0.1)

        proxy.restore()
        assert await reader.readexactly(3) == b"old"
        assert await new_reader.readexactly(3) == b"new"
        writer.close()
        new_writer.close()


async def test_delay_is_added_in_each_direction() -> None:
    """A round trip takes twice the delay at least; many chunks on the way do not add up."""
    async with echo_behind_proxy() as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        proxy.delay(0.1)
        started_s = time.monotonic()
        for _ in range(20):
            writer.write(b"x" * 1000)
            await asyncio.sleep(0)
        assert await reader.readexactly(20_000) == b"x" * 20_000
        assert time.monotonic() - started_s >= 0.2
        writer.close()


async def test_a_target_that_is_not_there_resets() -> None:
    """A machine on which nothing listens answers the same way."""
    async with TcpProxy("127.0.0.1", 1) as proxy:
        with pytest.raises(ConnectionResetError):
            await read_one(proxy)
