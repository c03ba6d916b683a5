"""Records on their way into a retry topic: they are settled when they are written there."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from connectors.runtime.partition import Partition, Work
from connectors.runtime.settling import Settling
from connectors.runtime.shares import Shares
from connectors.sink import LogRecord, Parking
from pipeline.clock import monotonic_us
from pipeline.core.lanes.lane import Jam
from pipeline.core.lanes.lanes import Lanes
from pipeline.core.lanes.parked_pace import ParkedPace
from pipeline.core.units import SECOND_US

# Parking costs 40 µs a record, finding a lane with room 8 µs: records to be parked wait until the loop has classified
# everything that was read, and are written in pieces of so many. Parked at once, 10,000 records of one application
# in the log held up those of others behind them by 0.6 s.
PARK_AT_ONCE = 20


class NoParkingError(Exception):
    """A sink without `Parking` said that a record is not due, or its gate took no more of them."""

    def __init__(self, record: LogRecord) -> None:
        super().__init__(
            f"record {record.topic}/{record.partition}/{record.offset} cannot be put now, and the sink parks none: "
            "hand a `Parking` to the runtime"
        )


class Parker:
    """Parks by the sink's `Parking`; also, in pieces, what lanes hold beyond their share since they became slow."""

    def __init__(
        self,
        parking: Parking | None,
        lanes: Lanes[Work],
        shares: Shares,
        settling: Settling,
        clock_us: Callable[[], int],
        *,
        pace: ParkedPace,
    ) -> None:
        """`pace`: at which parked work starts."""
        self._pace = pace
        self._parking = parking
        self._lanes = lanes
        self._shares = shares
        self._settling = settling
        self._clock_us = clock_us
        self._to_park: deque[tuple[Work, Jam]] = deque()
        self._to_trim: deque[Hashable] = deque()

    def park(self, work: Work, jam: Jam) -> None:
        """Park a record that is in no lane, soon. Raises `NoParkingError`."""
        if self._parking is None:
            raise NoParkingError(work.record)
        self._shares.give_back(work)
        self._to_park.append((work, jam))
        if len(self._to_park) == 1:
            asyncio.get_running_loop().call_soon(self._park_some, self._parking)

    def park_behind(self, work: Work, at_us: int) -> None:
        """Park a record that its lane does not take. Raises as `park`."""
        jam = self._lanes.describe_jam(work.incoming.lane, at_us)
        us_per_turn = self._lanes.count_parked() * SECOND_US / self._pace.rate_per_s
        self.park(work, jam._replace(us_per_turn=us_per_turn))

    def drop(self, partitions: Sequence[Partition]) -> None:
        """Forget the records of these partitions that wait to be parked."""
        to_park, self._to_park = self._to_park, deque()
        for work, jam in to_park:
            if work.partition in partitions:
                self._settling.forget(work)
            else:
                self._to_park.append((work, jam))

    def _park_some(self, parking: Parking) -> None:
        try:
            for _ in range(min(PARK_AT_ONCE, len(self._to_park))):
                work, jam = self._to_park.popleft()
                self._settle_after(parking.park(work.incoming, jam, self._clock_us()), work)
            if self._to_park:
                asyncio.get_running_loop().call_soon(self._park_some, parking)
        except Exception as error:
            self._settling.fail(error)

    def _settle_after(self, written: "asyncio.Future[Any]", work: Work) -> None:
        work.partition.open += 1

        def on_done(done: "asyncio.Future[Any]") -> None:
            try:
                if done.cancelled():
                    self._settling.close([work])
                elif (error := done.exception()) is not None:
                    self._settling.fail(error)
                else:
                    self._settling.settle([work])
            except Exception as error:
                self._settling.fail(error)

        written.add_done_callback(on_done)

    def trim_soon(self, key: Hashable) -> None:
        """Plan to trim a lane that holds more than its share."""
        self._to_trim.append(key)
        if len(self._to_trim) == 1:
            asyncio.get_running_loop().call_soon(self._trim_some)

    def _trim_some(self) -> None:
        try:
            for _ in range(PARK_AT_ONCE):
                if not self._to_trim:
                    return
                key = self._to_trim[0]
                work = self._lanes.trim(key) if self._shares.is_over(key) else None
                if work is None:
                    self._to_trim.popleft()
                else:
                    self.park_behind(work, monotonic_us())
            asyncio.get_running_loop().call_soon(self._trim_some)
        except Exception as error:
            self._settling.fail(error)
