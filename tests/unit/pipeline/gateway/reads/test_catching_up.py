import asyncio
from collections.abc import Collection, Mapping

import pytest

from pipeline.gateway.reads.catching_up import HOLDS_S, ArchivedLately, CatchingUp, Progress


class Log:
    """Answers when it may, and notes which partitions were asked for."""

    def __init__(self) -> None:
        self.rounds: list[set[int]] = []
        self.end = 7
        self.topic_id = "first"
        self.is_away = False
        self.was_asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.catching_up = CatchingUp(self.ask, lambda: self.topic_id)

    async def ask(self, partitions: Collection[int]) -> Mapping[int, Progress]:
        self.rounds.append(set(partitions))
        self.was_asked.set()
        progress = Progress(self.end, self.end)
        await self.may_answer.wait()
        if self.is_away:
            raise TimeoutError
        return dict.fromkeys(partitions, progress)


async def test_requests_that_come_together_are_asked_for_together() -> None:
    """One round for all of them, whatever their partitions."""
    log = Log()
    log.may_answer.set()

    found = await asyncio.gather(*(log.catching_up.ask(number % 3) for number in range(50)))

    assert [{0, 1, 2}] == log.rounds
    assert [Progress(7, 7)] * 50 == found


async def test_a_request_is_not_answered_by_what_was_asked_before_it_came() -> None:
    """A later request takes part in the next round, and sees what was accepted between the two."""
    log = Log()
    first = asyncio.create_task(log.catching_up.ask(0))
    await log.was_asked.wait()
    log.end = 8
    later = [asyncio.create_task(log.catching_up.ask(0)) for _ in range(10)]
    await asyncio.sleep(0)
    log.may_answer.set()

    assert [Progress(7, 7)] + [Progress(8, 8)] * 10 == await asyncio.gather(first, *later)
    assert [{0}, {0}] == log.rounds


async def test_a_request_that_is_given_up_leaves_the_others_waiting() -> None:
    """The round of a request that is given up goes on for those who wait for it too."""
    log = Log()
    given_up, patient = (asyncio.create_task(log.catching_up.ask(0)) for _ in range(2))
    await log.was_asked.wait()
    given_up.cancel()
    log.may_answer.set()

    assert Progress(7, 7) == await patient
    assert given_up.cancelled()


async def test_a_round_that_fails_fails_for_those_who_wait_for_it() -> None:
    """The next one asks again."""
    log = Log()
    log.is_away = True
    log.may_answer.set()
    with pytest.raises(TimeoutError):
        await log.catching_up.ask(0)
    log.is_away = False

    assert Progress(7, 7) == await log.catching_up.ask(0)


async def test_what_was_dispatched_is_remembered_up_to_its_offset() -> None:
    """The memory is of one application, and holds as long as the topic is the same."""
    log = Log()
    catching_up = log.catching_up
    catching_up.note_dispatched("one", 7)

    assert [True, True, False] == [catching_up.is_dispatched("one", end) for end in (6, 7, 8)]
    assert not catching_up.is_dispatched("other", 0)
    log.topic_id = "second"
    assert not catching_up.is_dispatched("one", 7)


def test_a_position_holds_for_a_second_in_its_topic() -> None:
    """A topic that was deleted and made again, a partition not read, and a second later: each is read again."""
    now_s = 10.0
    lately = ArchivedLately(lambda: now_s)
    lately.note("first", {0: 7, 1: 9})

    assert {0: 7} == lately.find("first", [0])
    assert {0: 7, 1: 9} == lately.find("first", [0, 1])
    assert lately.find("first", [0, 2]) is None
    assert lately.find("second", [0]) is None

    now_s += HOLDS_S
    assert lately.find("first", [0]) is None


def test_a_position_of_a_topic_without_an_id_does_not_hold() -> None:
    """A topic without an id may be another one the next time."""
    lately = ArchivedLately(lambda: 10.0)
    lately.note(None, {0: 7})

    assert lately.find(None, [0]) is None
