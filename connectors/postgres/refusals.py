"""Finding the records of a batch that no table takes, by halves: the others are written."""

from collections.abc import Awaitable, Callable, Sequence

from connectors.sink import LogRecord


async def find_refused(
    records: Sequence[LogRecord], find_reason: Callable[[Sequence[LogRecord]], Awaitable[str | None]]
) -> dict[LogRecord, str]:
    """Rows that PostgreSQL refuses, each with the reason. `find_reason`: why these are refused, or None."""
    reason = await find_reason(records) if records else None
    if reason is None:
        return {}
    if len(records) == 1:
        return {records[0]: reason}
    middle = len(records) // 2
    return await find_refused(records[:middle], find_reason) | await find_refused(records[middle:], find_reason)
