"""Records of retry topics reach the handler in pieces, with rests between them."""

from collections.abc import Sequence
from unittest.mock import Mock

from pipeline.kafka.group.handler import Handler
from pipeline.kafka.group.loop_side import RETRIES_AT_ONCE, LoopSide
from pipeline.kafka.record import LogRecord
from tests.support.eventually import eventually

COUNT = 5 * RETRIES_AT_ONCE


class OneSide:
    """A loop's side whose handler rests for `rest_s` after each piece."""

    def __init__(self, rest_s: float) -> None:
        self.received: list[int] = []
        self.side = LoopSide()
        self.side.start(
            Handler(
                assignment=Mock(),
                changes=Mock(),
                received=self.receive,
                measured=Mock(),
                commit_ended=Mock(),
                retries_rest_s=lambda _: rest_s,
            )
        )

    def receive(self, records: Sequence[LogRecord]) -> None:
        self.received += [record.offset for record in records]

    def hand(self, begin: int = 0) -> None:
        self.side.receive_retries([LogRecord("t", 0, begin + each, b"k", b"v", 0) for each in range(COUNT)])


async def test_pieces_come_one_after_the_other() -> None:
    """All of them, in their order, also when more come meanwhile; the batch counts when its last piece is handled."""
    one = OneSide(0.001)
    one.hand()
    one.hand(COUNT)

    await eventually(lambda: len(one.received) == 2 * COUNT)
    assert list(range(2 * COUNT)) == one.received
    assert 2 == one.side.received_batches


async def test_new_records_and_a_rebalance_do_not_wait_for_a_rest() -> None:
    """Records that rest are handled before the answer to a rebalance: their positions count."""
    one = OneSide(3_600)
    one.hand()
    await eventually(lambda: len(one.received) == RETRIES_AT_ONCE)
    one.side.receive([LogRecord("new", 0, 7_777, b"k", b"v", 0)])

    assert [*range(RETRIES_AT_ONCE), 7_777] == one.received
    assert 1 == one.side.received_batches

    async def answer() -> int:
        return len(one.received)

    assert COUNT + 1 == await one.side.answer(answer())
    assert 2 == one.side.received_batches
