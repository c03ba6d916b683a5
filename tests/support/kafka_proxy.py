"""A proxy that knows enough of Kafka's protocol to answer produce requests with an error, or late, and to be without a
coordinator of groups.

A produce request reaches the broker all the same: what a client is told and what is in the log then differ, which is
how clients come to the errors that they call fatal.
"""

import asyncio
import struct

HOST = b"127.0.0.1"
PRODUCE = 0
FIND_COORDINATOR = 10
# commits, their look-up, and what members ask: only the broker that coordinates a group answers these
GROUP_REQUESTS = frozenset({8, 9, 11, 12, 13, 14})
COORDINATOR_NOT_AVAILABLE = 15
FLEXIBLE_SINCE = 9  # version of produce from which lengths are varints


class KafkaProxy:
    """Stands before a broker on this machine, at `address`. An async context manager."""

    def __init__(self, kafka: str) -> None:
        self._host, _, port = kafka.rpartition(":")
        self._target_port = int(port)
        self._errors: list[int] = []  # for the produce answers to come
        self._tasks: set[asyncio.Task[None]] = set()
        self._coordinating: set[asyncio.StreamWriter] = set()  # of clients, on which they asked a coordinator
        self._is_coordinating = True
        self.failed = 0
        self._answering = asyncio.Event()
        self._answering.set()

    async def __aenter__(self) -> "KafkaProxy":
        self._server = await asyncio.start_server(self._accept, HOST.decode(), 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def address(self) -> str:
        return f"{HOST.decode()}:{self._port}"

    def fail_produce(self, *errors: int) -> None:
        """Answer the next produce requests with these error codes."""
        self._errors += errors

    def hold(self) -> None:
        """Keep the answers to produce requests, until `let_go`."""
        self._answering.clear()

    def let_go(self) -> None:
        """Hand on what was kept, and what comes."""
        self._answering.set()

    def lose_coordinator(self) -> None:
        """Be a cluster without the broker that coordinates groups, until `find_coordinator`. All else goes on."""
        self._is_coordinating = False
        for writer in self._coordinating:
            writer.close()

    def find_coordinator(self) -> None:
        """Groups are coordinated again."""
        self._is_coordinating = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        broker_reader, broker_writer = await asyncio.open_connection(self._host, self._target_port)
        versions: dict[int, int] = {}  # of produce requests, by correlation id
        refused: dict[int, int] = {}  # likewise, of questions for a coordinator that are answered without one
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_requests(reader, broker_writer, writer, versions, refused))
                both.create_task(self._pass_answers(broker_reader, writer, versions, refused))
        except* (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one side is gone, or we are closed
        finally:
            writer.close()
            broker_writer.close()
            self._coordinating.discard(writer)
            self._tasks.discard(task)

    async def _pass_requests(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        versions: dict[int, int],
        refused: dict[int, int],
    ) -> None:
        while True:
            frame = await _read_frame(reader)
            key, version, correlation_id = struct.unpack_from(">hhi", frame)
            if key == PRODUCE:
                versions[correlation_id] = version
            if key in GROUP_REQUESTS:
                self._coordinating.add(client)
                if not self._is_coordinating:
                    raise ConnectionResetError
            if key == FIND_COORDINATOR and not self._is_coordinating:
                refused[correlation_id] = version
            writer.write(struct.pack(">i", len(frame)) + frame)
            await writer.drain()

    async def _pass_answers(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        versions: dict[int, int],
        refused: dict[int, int],
    ) -> None:
        ours, theirs = (HOST + struct.pack(">i", port) for port in (self._port, self._target_port))
        while True:
            frame = await _read_frame(reader)
            (correlation_id,) = struct.unpack_from(">i", frame)
            version = versions.pop(correlation_id, None)
            if version is not None:
                await self._answering.wait()
            if correlation_id in refused:
                frame = _refuse_coordinator(correlation_id, refused.pop(correlation_id))
            if version is not None and self._errors:
                frame = _put_error(frame, version, self._errors.pop(0))
                self.failed += 1
            frame = frame.replace(theirs, ours)  # or clients would go past this proxy
            writer.write(struct.pack(">i", len(frame)) + frame)
            await writer.drain()


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _put_error(frame: bytes, version: int, error: int) -> bytes:
    """The answer with `error` for the first partition of the first topic."""
    at = 4  # behind the correlation id
    if version >= FLEXIBLE_SINCE:
        at += 1 + 1  # tagged fields, number of topics
        at += frame[at] + 1 - 1  # name; its length is stored plus one
        at += 1
    else:
        at += 4
        at += 2 + struct.unpack_from(">h", frame, at)[0]
        at += 4
    at += 4  # partition
    return frame[:at] + struct.pack(">h", error) + frame[at + 2 :]


def _refuse_coordinator(correlation_id: int, version: int) -> bytes:
    """The answer of a broker that knows no coordinator."""
    assert version <= 2, f"version {version} of FindCoordinator has another form"
    answer = struct.pack(">i", correlation_id)
    if version >= 1:
        answer += struct.pack(">i", 0)  # not throttled
    answer += struct.pack(">h", COORDINATOR_NOT_AVAILABLE)
    if version >= 1:
        answer += struct.pack(">h", -1)  # no text
    return answer + struct.pack(">ihi", -1, 0, -1)  # no node, host or port
