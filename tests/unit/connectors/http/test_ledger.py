from collections.abc import Mapping, Sequence

from connectors.http.ledger import REMATCHED_MAX, Ledger
from connectors.sink import LogRecord
from pipeline.core.events.records import Attempt, to_bytes
from pipeline.core.log.commit_note import CommitNote
from tests.integration.archive.records import make_attempt, make_dispatch, make_event, make_id

LEAD = "hookline.deliveries"
SEEN = 5_000  # up to which attempt the commit has seen them


def make_record(offset: int) -> tuple[Attempt, LogRecord]:
    """An attempt in the log that settles the record at the same offset of the deliveries."""
    attempt = make_attempt(make_dispatch(make_event(make_id()), make_id()))
    return attempt, LogRecord("hookline.attempts", 0, offset, b"k", to_bytes(attempt), 0)


async def test_attempts_before_the_commit_are_known_too() -> None:
    """A matcher that died as well brings their deliveries again, at new offsets: they are not sent again."""
    asked: dict[int, int] = {}
    (before, first), (after, second) = make_record(SEEN - 1), make_record(SEEN)

    async def read_tail(starts: Mapping[int, int]) -> tuple[Sequence[LogRecord], Mapping[int, int]]:
        asked.update(starts)
        return [first, second], {0: SEEN + 1}

    ledger = Ledger(LEAD, read_tail=read_tail, recent_max=100)
    await ledger.assigned({(LEAD, 0): CommitNote(done=(), attempts_offset=SEEN)})

    assert {0: SEEN - REMATCHED_MAX} == asked
    assert ledger.has(before.attempt_id)
    assert ledger.has(after.attempt_id)
    # what no commit knew of holds the note back; what was before it does not
    assert SEEN == ledger.attempts_seen((LEAD, 0), lambda _place, _offset: False)
    assert SEEN + 1 == ledger.attempts_seen((LEAD, 0), lambda _place, _offset: True)


async def test_the_beginning_of_the_log() -> None:
    """No offset lies before the beginning."""
    asked: dict[int, int] = {}

    async def read_tail(starts: Mapping[int, int]) -> tuple[Sequence[LogRecord], Mapping[int, int]]:
        asked.update(starts)
        return [], dict.fromkeys(starts, 0)

    ledger = Ledger(LEAD, read_tail=read_tail, recent_max=100)
    await ledger.assigned({(LEAD, 0): None, (LEAD, 1): CommitNote(done=(), attempts_offset=7)})

    assert {0: 0, 1: 0} == asked
