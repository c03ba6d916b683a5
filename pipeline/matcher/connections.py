"""aiokafka's connections, mended for brokers that are gone and for brokers that have stopped.

uvloop raises `RuntimeError` for a transport that was closed meanwhile; aiokafka expects an `OSError`, and a broker that
was killed ended the matcher. A broker that has stopped without an end answers nothing: aiokafka would wait for it until
the time of the longest request is over (a member that joins waits for others), and open no other connection meanwhile.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest

# Brokers answer these at once, or within the 5 s that a commit may wait for replicas. Then another one is asked.
SILENT_MAX_S = 6.0
AT_ONCE = (MetadataRequest, FindCoordinatorRequest, HeartbeatRequest, OffsetFetchRequest, OffsetCommitRequest)


def guard_connections(client: Any) -> None:
    """Guard those that `client` (aiokafka's) has, and all that it opens."""
    get_connection = client._get_conn  # noqa: SLF001

    async def get_guarded(*arguments: Any, **options: Any) -> Any:
        try:
            async with asyncio.timeout(SILENT_MAX_S):
                connection = await get_connection(*arguments, **options)
        except TimeoutError:
            client.force_metadata_update()
            return None  # as for one that refuses
        if connection is not None:
            guard(connection)
        return connection

    client._get_conn = get_guarded  # noqa: SLF001
    for connection in client._conns.values():  # noqa: SLF001
        guard(connection)


def guard(connection: Any) -> None:
    """Let its `send` raise `KafkaConnectionError` once its transport is closed, and close it when it is silent."""
    if getattr(connection.send, "is_guarded", False):
        return
    send = connection.send

    def send_guarded(request: Any, expect_response: bool = True) -> Any:
        try:
            answer = send(request, expect_response=expect_response)
        except RuntimeError as error:
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(str(error)) from error
        return _wait_for(answer, connection) if isinstance(request, AT_ONCE) else answer

    send_guarded.is_guarded = True  # type: ignore[attr-defined]
    connection.send = send_guarded


async def _wait_for(answer: Awaitable[Any], connection: Any) -> Any:
    try:
        async with asyncio.timeout(SILENT_MAX_S):
            return await answer
    except TimeoutError as error:
        connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
        raise RequestTimedOutError from error
