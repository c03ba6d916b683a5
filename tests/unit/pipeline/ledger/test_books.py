"""Entries of the books, by the place of an event in the log and by the archive's knowledge of it."""

from uuid import UUID, uuid4

import pytest

from pipeline.core.events.records import Probe, RoutesChanged, to_bytes
from pipeline.core.log.account import Account
from pipeline.kafka.record import LogRecord
from pipeline.kafka.settled import Settled
from pipeline.ledger.count import Books, Result
from pipeline.ledger.open_records import merge_gaps, read_log_event
from pipeline.postgres.archive.ledger_counts import OpenDelivery, OpenEvent

TOPIC = "hookline.events"
APPLICATION = str(uuid4())


def make_books() -> Books:
    """The matcher has committed 10, and completed 15 to 19 beyond."""
    return Books({(TOPIC, 0): Settled(10, ((15, 20),))}, TOPIC, Result(counted_at_s=0.0))


@pytest.mark.parametrize(
    ("offset", "is_dispatched", "is_refused", "expected"),
    [
        (9, True, False, (1, 0, 0, 0)),  # on another day
        (9, False, True, (0, 1, 0, 0)),
        (10, False, False, (0, 0, 1, 0)),  # the matcher has not committed it
        (9, False, False, (0, 0, 0, 1)),
        (15, False, False, (0, 0, 0, 1)),
        (20, False, False, (0, 0, 1, 0)),
    ],
)
def test_an_event_is_matched_refused_waiting_or_lost(
    offset: int, is_dispatched: bool, is_refused: bool, expected: tuple[int, int, int, int]
) -> None:
    """Lost: the matcher committed it, and it left nothing."""
    books, account = make_books(), Account(events=1, matched=1)
    books.add_event(account, OpenEvent(APPLICATION, str(uuid4()), 0, offset, is_dispatched, is_refused))

    assert expected == (account.matched, account.refused, account.waiting, account.unaccounted_events)
    assert expected[3] == len(books.result.missing)


@pytest.mark.parametrize(
    ("place", "pending", "lost"),
    [((0, 10), 1, 0), ((0, 9), 0, 1), (None, 0, 1)],
)
def test_a_delivery_that_is_nowhere_is_lost_unless_its_event_is_matched_again(
    place: tuple[int, int] | None, pending: int, lost: int
) -> None:
    """The matcher that has not committed writes it again."""
    books, day = make_books(), Account(deliveries=1, delivered=1)
    partition, offset = place or (None, None)
    books.add_delivery(day, OpenDelivery(APPLICATION, uuid4().bytes, partition, offset, False, False))
    books.add({APPLICATION: day})
    books.close()
    account = books.result.accounts[APPLICATION]

    assert (pending, lost) == (account.pending, account.unaccounted_deliveries)
    assert lost == len(books.result.missing)


def test_dead_and_cancelled_are_ends() -> None:
    """Nothing of them is looked for in the log; what was cancelled is not dead besides."""
    books, account = make_books(), Account(deliveries=3, delivered=3)
    for is_dead, is_cancelled in ((True, False), (False, True), (True, True)):
        books.add_delivery(account, OpenDelivery(APPLICATION, uuid4().bytes, 0, 0, is_dead, is_cancelled))

    assert (0, 1, 2) == (account.delivered, account.dead, account.cancelled)
    assert {} == books.wanted


def test_a_missing_delivery_is_named_by_its_id() -> None:
    """Receivers and operators know it by this id."""
    books, delivery_id = make_books(), uuid4()
    books.add_delivery(Account(), OpenDelivery(APPLICATION, delivery_id.bytes, 0, 3, False, False))
    books.close()
    (missing,) = books.result.missing

    assert ("delivery", delivery_id, (0, 3)) == (missing.kind, UUID(missing.id), missing.event_place)


def test_neighbouring_gaps_are_read_together() -> None:
    """Gaps of one partition that lie near each other are read together."""
    gaps = [(0, 5, 6), (0, 8, 20), (0, 50_000, 50_001), (1, 50_001, 50_002)]

    assert [(0, [(5, 6), (8, 20)]), (0, [(50_000, 50_001)]), (1, [(50_001, 50_002)])] == list(merge_gaps(gaps))


def test_what_is_no_event_is_not_missed() -> None:
    """Markers and probes lie in the events topic too; what cannot be read was accepted."""
    marker = to_bytes(RoutesChanged(application_id=APPLICATION, routes_version=1, changed_at_us=1))
    probe = to_bytes(Probe(process="gateway", written_at_us=1))
    values = [marker, probe, b"nonsense"]
    found = [read_log_event(LogRecord(TOPIC, 0, 7, APPLICATION.encode(), value, 1)) for value in values]

    assert [None, None] == found[:2]
    assert found[2] is not None
    assert (None, 7) == (found[2].event_id, found[2].offset)
