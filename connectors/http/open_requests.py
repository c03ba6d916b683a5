"""Requests that are open now, and those of them that gateways do not know of yet.

Only requests that stay open for `TOLD_AFTER_US` are published, once each: the usual delivery costs two changes of a
dictionary and no record.
"""

from pipeline.core.events.ids import derive_attempt_id
from pipeline.core.events.records import Delivery, OpenRequests
from pipeline.core.routing.delivery_settings import TIMEOUT_MAX_S
from pipeline.core.units import SECOND_US

TOLD_AFTER_US = SECOND_US
TOLD_AT_ONCE_MAX = 2_000
# beyond the longest time-out: names are resolved before it begins, and the attempt is written after it
OPEN_MAX_US = int((TIMEOUT_MAX_S + 15) * SECOND_US)


class OpenRequestBook:
    """Requests by delivery and number of the attempt, oldest first."""

    def __init__(self) -> None:
        self._untold: dict[tuple[str, int], int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def begin(self, delivery: Delivery, started_at_us: int) -> None:
        """Note that a request begins."""
        self._count += 1
        self._untold[delivery.delivery_id, delivery.attempt_number] = started_at_us

    def end(self, delivery: Delivery) -> None:
        """Note that a request of `begin` has ended, however it did."""
        self._count -= 1
        self._untold.pop((delivery.delivery_id, delivery.attempt_number), None)

    def take_long(self, process: str, now_us: int) -> OpenRequests | None:
        """The requests that have become long since the last call; None when there are none."""
        long: list[tuple[tuple[str, int], int]] = []
        for key, started_at_us in self._untold.items():
            if started_at_us > now_us - TOLD_AFTER_US or len(long) == TOLD_AT_ONCE_MAX:
                break
            long.append((key, started_at_us))
        for key, _ in long:
            del self._untold[key]
        if not long:
            return None
        return OpenRequests(
            process=process,
            requests=[
                {
                    "attempt_id": derive_attempt_id(delivery_id, number),
                    "started_at_us": started_at_us,
                    "until_us": started_at_us + OPEN_MAX_US,
                }
                for (delivery_id, number), started_at_us in long
            ],
        )
