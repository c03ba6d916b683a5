import asyncio
from collections.abc import Sequence

from pipeline.gateway.duplicates import EventIds, EventKey


class Archive:
    """Knows some ids; counts how often it is asked."""

    def __init__(self, *known: EventKey) -> None:
        self.known = set(known)
        self.questions: list[list[EventKey]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def look_up(self, keys: Sequence[EventKey]) -> set[EventKey]:
        self.questions.append(list(keys))
        await self.may_answer.wait()
        return self.known & set(keys)


def make(archive: Archive, *, timeout_s: float = 5.0) -> EventIds:
    return EventIds(archive.look_up, recent_max=100, timeout_s=timeout_s)


async def test_an_id_is_ours_once() -> None:
    """New, accepted, known: without a second question to the archive."""
    archive = Archive()
    ids = make(archive)

    assert await ids.claim(("a", "1"))
    ids.settle(("a", "1"), accepted=True)
    assert not await ids.claim(("a", "1"))
    assert 1 == len(archive.questions)
    assert await ids.claim(("b", "1"))


async def test_what_the_archive_has_is_known() -> None:
    """An event of yesterday is refused, and asked for only once."""
    archive = Archive(("a", "1"))
    ids = make(archive)

    assert not await ids.claim(("a", "1"))
    assert not await ids.claim(("a", "1"))
    assert 1 == len(archive.questions)


async def test_a_failed_one_is_free_again() -> None:
    """Who waits for the same id gets it when the first one was not accepted."""
    ids = make(Archive())
    assert await ids.claim(("a", "1"))
    second = asyncio.create_task(ids.claim(("a", "1")))
    third = asyncio.create_task(ids.claim(("a", "1")))
    await asyncio.sleep(0)
    ids.settle(("a", "1"), accepted=False)
    done, _ = await asyncio.wait([second, third], return_when=asyncio.FIRST_COMPLETED)

    assert [True] == [task.result() for task in done]
    ids.settle(("a", "1"), accepted=True)
    assert {True, False} == {await second, await third}


async def test_many_are_asked_for_at_once() -> None:
    """However many requests come at a time, the archive is asked a few times, not once for each."""
    archive = Archive()
    ids = make(archive)
    claims = await asyncio.gather(*(ids.claim(("a", str(number))) for number in range(500)))

    assert all(claims)
    assert len(archive.questions) <= 2


async def test_a_silent_archive_does_not_stop_ingest() -> None:
    """When the archive does not answer in time the event is taken: the matcher looks again."""
    archive = Archive()
    archive.may_answer.clear()

    assert await make(archive, timeout_s=0.01).claim(("a", "1"))


async def test_a_batch() -> None:
    """Of an id that is twice in a batch the first one is new; known ones are not; others do not suffer."""
    ids = make(Archive(("a", "known")))
    keys = [("a", "1"), ("a", "known"), ("a", "1"), ("a", "2")]

    assert [True, False, False, True] == await ids.claim_all(keys)
