"""One request's raw connection to answer on: what a behaviour is given to play with."""

import asyncio
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field

NO_LINGER = struct.pack("ii", 1, 0)


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(frozen=True, slots=True)
class Flow:
    """State of the transport: does it take more, is it gone?"""

    writable: asyncio.Event = field(default_factory=_set_event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Writing raises ConnectionResetError once the connection has gone: the play is over then."""

    transport: asyncio.Transport
    flow: Flow
    sent_bytes: Counter[str]
    path: str

    def write(self, data: bytes) -> None:
        if self.transport.is_closing():
            raise ConnectionResetError("the connection has gone")
        self.sent_bytes[self.path] += len(data)
        self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read enough for more to be written."""
        # a turn of the loop even when all is writable: it notices only then that the connection has gone
        await asyncio.sleep(0)
        await self.flow.writable.wait()

    async def wait_closed(self) -> None:
        """Wait until the connection has gone."""
        await self.flow.closed.wait()

    def close(self) -> None:
        """FIN, after what was written."""
        self.transport.close()

    def half_close(self) -> None:
        """FIN after what was written; what the client sends is still read."""
        self.transport.write_eof()

    def reset(self) -> None:
        """RST, now."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.transport.abort()
