"""Records that were sent together, until Kafka has acknowledged the last of them."""

import asyncio
from dataclasses import dataclass

from pipeline.kafka.failures import KafkaUnavailableError, ToSend


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an acknowledged record is in the log."""

    partition: int
    offset: int


NOWHERE = Placement(-1, -1)


class Unacknowledged:
    """`future` resolves when the last record is acknowledged. Fails with the first failure."""

    __slots__ = ("failed", "future", "left", "placement")

    def __init__(self, future: "asyncio.Future[Placement]", left: int) -> None:
        self.future = future
        self.left = left
        self.failed: list[tuple[ToSend, KafkaUnavailableError]] = []
        self.placement = NOWHERE
        if left == 0:
            future.set_result(NOWHERE)

    def fail(self, record: ToSend, failure: KafkaUnavailableError) -> None:
        """Note a record that was not written, or of which that is not known."""
        self.failed.append((record, failure))
        self.count_down()

    def count_down(self) -> None:
        """Note that one more record has an answer."""
        self.left -= 1
        if self.left > 0 or self.future.done():
            return
        if self.failed:
            _, error = self.failed[0]
            error.failed = self.failed
            self.future.set_exception(error)
        else:
            self.future.set_result(self.placement)
