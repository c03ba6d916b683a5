"""A child process of a benchmark talks to its parent: commands in, lines out."""

import asyncio
import sys
from collections.abc import AsyncIterator

import msgspec

from bench.instruments.plan import LINE_MAX_BYTES, Command

_decode = msgspec.json.Decoder(Command).decode


async def read_commands() -> AsyncIterator[Command]:
    """Each line on standard input; ends when the parent has closed it or is gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_MAX_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield _decode(line)


def say(message: msgspec.Struct) -> None:
    """One line on standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()
