import asyncio
from collections.abc import Sequence

import pytest

from pipeline.gateway.event_ids import Claim, EventIds
from pipeline.gateway.id_lookups import EventKey, Known
from tests.support.eventually import eventually

EVENT, ANOTHER = 1, 2


class Archive:
    """Knows some ids, all of the same event; counts how often it is asked."""

    def __init__(self, *known: EventKey, content: int | None = EVENT) -> None:
        self.known = dict.fromkeys(known, content)
        self.questions: list[list[EventKey]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def look_up(self, keys: Sequence[EventKey]) -> Known:
        self.questions.append(list(keys))
        await self.may_answer.wait()
        return {key: self.known[key] for key in keys if key in self.known}


def make(archive: Archive, *, timeout_s: float = 5.0) -> EventIds:
    return EventIds(archive.look_up, recent_max=100, timeout_s=timeout_s)


async def test_an_id_is_ours_once() -> None:
    """New, accepted, known: without a second question to the archive."""
    archive = Archive()
    ids = make(archive)

    assert Claim.NEW is await ids.claim(("a", "1"), EVENT)
    ids.settle(("a", "1"), accepted=True)
    assert Claim.REPEATED is await ids.claim(("a", "1"), EVENT)
    assert 1 == len(archive.questions)
    assert Claim.NEW is await ids.claim(("b", "1"), EVENT)


async def test_what_the_archive_has_is_known() -> None:
    """An event of yesterday is refused, and asked for only once."""
    archive = Archive(("a", "1"))
    ids = make(archive)

    assert Claim.REPEATED is await ids.claim(("a", "1"), EVENT)
    assert Claim.REPEATED is await ids.claim(("a", "1"), EVENT)
    assert 1 == len(archive.questions)


async def test_a_failed_one_is_free_again() -> None:
    """A caller that waits for the id gets it when the first one was not accepted."""
    ids = make(Archive())
    assert Claim.NEW is await ids.claim(("a", "1"), EVENT)
    second = asyncio.create_task(ids.claim(("a", "1"), EVENT))
    third = asyncio.create_task(ids.claim(("a", "1"), EVENT))
    await asyncio.sleep(0)
    ids.settle(("a", "1"), accepted=False)
    done, _ = await asyncio.wait([second, third], return_when=asyncio.FIRST_COMPLETED)

    assert [Claim.NEW] == [task.result() for task in done]
    ids.settle(("a", "1"), accepted=True)
    assert {Claim.NEW, Claim.REPEATED} == {await second, await third}


async def test_nothing_waits_for_an_archive_that_is_silent() -> None:
    """Two events have waited for it in vain: others are new at once, until it answers again."""
    archive = Archive(("a", "known"))
    archive.may_answer.clear()
    ids = make(archive, timeout_s=0.01)
    for number in range(2):
        assert Claim.NEW is await ids.claim(("a", str(number)), EVENT)
    waiting = [asyncio.ensure_future(ids.claim(("b", str(number)), EVENT)) for number in range(100)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert {True} == {each.done() for each in waiting}
    archive.may_answer.set()

    async def is_asked() -> bool:
        claim = await ids.claim(("a", "known"), EVENT)
        ids.settle(("a", "known"), accepted=False)
        return claim is Claim.REPEATED

    await eventually(is_asked)


async def test_many_are_asked_for_at_once() -> None:
    """The archive is asked a few times, not once for each of many requests at a time."""
    archive = Archive()
    ids = make(archive)
    claims = await asyncio.gather(*(ids.claim(("a", str(number)), EVENT) for number in range(500)))

    assert {Claim.NEW} == set(claims)
    assert len(archive.questions) <= 2


async def test_ids_that_come_one_by_one_are_gathered_where_processors_are_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A question costs as much as ten requests: on a busy machine it waits for more ids."""
    have_come, turn = asyncio.Event(), asyncio.sleep

    async def gather(delay_s: float) -> None:
        await (have_come.wait() if delay_s else turn(0))

    monkeypatch.setattr(asyncio, "sleep", gather)
    archive = Archive()
    ids = EventIds(archive.look_up, recent_max=100, timeout_s=5.0, gather_s=lambda: 0.05)
    claims = []
    for number in range(20):
        claims.append(asyncio.create_task(ids.claim(("a", str(number)), EVENT)))
        await asyncio.sleep(0)
    have_come.set()

    assert {Claim.NEW} == set(await asyncio.gather(*claims))
    assert 1 == len(archive.questions)


async def test_a_silent_archive_does_not_stop_ingest() -> None:
    """The event is taken when the archive does not answer in time: the matcher looks again."""
    archive = Archive()
    archive.may_answer.clear()

    assert Claim.NEW is await make(archive, timeout_s=0.01).claim(("a", "1"), EVENT)


async def test_a_batch() -> None:
    """The first of two equal ids in a batch is new; known ones are not; others do not suffer."""
    ids = make(Archive(("a", "known"), ("a", "known too")))
    keys = [("a", "1"), ("a", "known"), ("a", "1"), ("a", "2"), ("a", "1"), ("a", "known too"), ("a", "known")]
    contents = [EVENT, EVENT, EVENT, EVENT, ANOTHER, ANOTHER, ANOTHER]

    assert [
        Claim.NEW,
        Claim.REPEATED,
        Claim.REPEATED,
        Claim.NEW,
        Claim.REUSED,
        Claim.REUSED,
        Claim.REUSED,
    ] == await ids.claim_all(keys, contents)


async def test_another_event_under_a_known_id_is_told_apart() -> None:
    """An id knows whether its event was accepted here, is archived, or is being accepted at this moment."""
    ids = make(Archive(("a", "old")))
    await ids.claim(("a", "1"), EVENT)
    waiting = asyncio.create_task(ids.claim(("a", "1"), ANOTHER))
    await asyncio.sleep(0)
    ids.settle(("a", "1"), accepted=True)

    assert Claim.REUSED is await waiting
    assert Claim.REUSED is await ids.claim(("a", "1"), ANOTHER)
    assert Claim.REUSED is await ids.claim(("a", "old"), ANOTHER)
    assert Claim.REPEATED is await ids.claim(("a", "old"), EVENT)


async def test_what_could_not_be_read_is_taken_for_the_same() -> None:
    """The archive has the id and did not tell the content in time: 409, and nothing wrong is remembered."""
    archive = Archive(("a", "1"), content=None)
    ids = make(archive)

    assert Claim.REPEATED is await ids.claim(("a", "1"), ANOTHER)
    archive.known = {("a", "1"): EVENT}
    assert Claim.REUSED is await ids.claim(("a", "1"), ANOTHER)


async def test_a_cancelled_batch_leaves_nothing_claimed() -> None:
    """A client that goes away while the archive is asked does not block its ids for others."""
    archive = Archive()
    ids = make(archive)
    archive.may_answer.clear()
    batch = asyncio.create_task(ids.claim_all([("a", "1"), ("a", "2")], [EVENT, EVENT]))
    await eventually(lambda: archive.questions)
    batch.cancel()
    await asyncio.wait([batch])
    archive.may_answer.set()

    assert Claim.NEW is await ids.claim(("a", "1"), ANOTHER)
    assert Claim.NEW is await ids.claim(("a", "2"), ANOTHER)


async def test_an_id_of_ours_is_known_afterwards() -> None:
    """The id that was answered for an event without one."""
    ids = make(Archive())
    ids.remember(("a", "1"), EVENT)

    assert Claim.REPEATED is await ids.claim(("a", "1"), EVENT)
    assert Claim.REUSED is await ids.claim(("a", "1"), ANOTHER)


async def test_batches_with_the_same_ids_do_not_wait_for_each_other() -> None:
    """A batch fails, and its events come again in two batches, in another order each: one has them, one waits."""
    ids = make(Archive())
    keys = [("a", "1"), ("a", "2")]
    await ids.claim_all(keys, [EVENT, EVENT])
    one = asyncio.create_task(ids.claim_all(keys, [EVENT, EVENT]))
    two = asyncio.create_task(ids.claim_all(keys[::-1], [EVENT, EVENT]))
    await asyncio.sleep(0)
    for key in keys:
        ids.settle(key, accepted=False)
    async with asyncio.timeout(60):
        await asyncio.wait([one, two], return_when=asyncio.FIRST_COMPLETED)
        first, second = (one, two) if one.done() else (two, one)
        for key in keys:
            ids.settle(key, accepted=True)

        assert [Claim.NEW] * 2 == await first
        assert [Claim.REPEATED] * 2 == await second


async def test_a_batch_waits_for_an_id_that_is_being_accepted() -> None:
    """Nothing is remembered here: the answer comes from the request that had the id."""
    ids = EventIds(Archive().look_up, recent_max=0, timeout_s=5.0)
    await ids.claim(("a", "1"), EVENT)
    waiting = asyncio.create_task(ids.claim_all([("a", "1"), ("a", "2"), ("a", "2")], [ANOTHER, EVENT, EVENT]))
    await asyncio.sleep(0)
    ids.settle(("a", "1"), accepted=True)

    assert [Claim.REUSED, Claim.NEW, Claim.REPEATED] == await waiting
