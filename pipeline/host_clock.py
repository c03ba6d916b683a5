"""Watches the host's clock: a process whose clock was set back is useless, ends, and is started again.

librdkafka's threads wait until times of the wall clock. When that is set back by an hour, what waits then (for the next
record, to send a heartbeat, to fetch) waits an hour longer: a consumer reads nothing, a view of the routes grows old,
and nothing says so. A new process has no such waits. Set forward, every wait ends at once, which does no harm.
"""

import asyncio
import time

LOOK_INTERVAL_S = 1.0
# A wait that is longer by so much is borne: time synchronisation corrects less, and a group loses no member by it.
SET_BACK_MAX_S = 5.0


class ClockSetBackError(Exception):
    """The host's clock was set back: waits inside the Kafka client would last longer by as much. Ends the process."""


def read_offset_s() -> float:
    """The wall clock minus the monotonic one, which is never set."""
    return time.time() - time.monotonic()


async def watch_host_clock() -> None:
    """Runs until the clock has been set back. Raises `ClockSetBackError`."""
    offset_s = read_offset_s()
    while True:
        await asyncio.sleep(LOOK_INTERVAL_S)
        before_s, offset_s = offset_s, read_offset_s()
        if before_s - offset_s > SET_BACK_MAX_S:
            raise ClockSetBackError(
                f"this host's clock was set back by {before_s - offset_s:.0f} s; what waits inside the Kafka client "
                "would wait longer by as much, so this process ends, to be started again"
            )
