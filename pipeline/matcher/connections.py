"""aiokafka's connections on uvloop: writing to one that was closed is an error of the connection there as well.

uvloop raises `RuntimeError` for a transport that was closed meanwhile; aiokafka expects an `OSError`, and a
broker that was killed ended the matcher.
"""

from typing import Any

from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaConnectionError


def guard_connections(client: Any) -> None:
    """Guard those that `client` (aiokafka's) has, and all that it opens."""
    get_connection = client._get_conn  # noqa: SLF001

    async def get_guarded(*arguments: Any, **options: Any) -> Any:
        connection = await get_connection(*arguments, **options)
        if connection is not None:
            guard(connection)
        return connection

    client._get_conn = get_guarded  # noqa: SLF001
    for connection in client._conns.values():  # noqa: SLF001
        guard(connection)


def guard(connection: Any) -> None:
    """Let its `send` raise `KafkaConnectionError` once its transport is closed."""
    if getattr(connection.send, "is_guarded", False):
        return
    send = connection.send

    def send_guarded(request: Any, expect_response: bool = True) -> Any:
        try:
            return send(request, expect_response=expect_response)
        except RuntimeError as error:
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(str(error)) from error

    send_guarded.is_guarded = True  # type: ignore[attr-defined]
    connection.send = send_guarded
