"""The end of a record's way: settled, or closed unsettled; and waiting until nothing of a partition is open."""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from connectors.runtime.partition import Partition, Work
from connectors.runtime.shares import Shares
from connectors.sink import LogRecord

log = structlog.get_logger()


class Settling:
    """`release`: a record is done with; `fail`: this error ends the process."""

    def __init__(
        self, shares: Shares, *, release: Callable[[LogRecord], None], fail: Callable[[BaseException], None]
    ) -> None:
        self._shares = shares
        self._release = release
        self._progress = asyncio.Event()  # set whenever something was closed
        self.fail = fail
        self.settled_at_s = time.monotonic()

    def settle(self, works: Sequence[Work]) -> None:
        """Settle open records: the watermark may pass them."""
        for work in works:
            work.partition.mark.settle(work.record.offset)
        self.settled_at_s = time.monotonic()
        self.close(works)

    def close(self, works: Sequence[Work]) -> None:
        """Close open records. Those that were not settled are read again by the next owner."""
        for work in works:
            work.partition.open -= 1
            self.forget(work)
        self._progress.set()

    def forget(self, work: Work) -> None:
        """Forget a record that is not open and leaves the process."""
        self._shares.give_back(work)
        self._release(work.record)

    async def wait_closed(self, partitions: Sequence[Partition], timeout_s: float) -> bool:
        """Wait until nothing of these partitions is open. False: something is, after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while any(partition.open for partition in partitions):
            self._progress.clear()
            try:
                async with asyncio.timeout(max(0.0, deadline_s - time.monotonic())):
                    await self._progress.wait()
            except TimeoutError:
                open_records = sum(partition.open for partition in partitions)
                log.warning("drain_timed_out", grace_s=timeout_s, open_records=open_records)
                return False
        return True
