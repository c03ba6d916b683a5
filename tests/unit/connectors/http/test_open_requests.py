"""Which open requests gateways are told of: long ones, once each."""

from uuid import uuid4

from connectors.http.open_requests import OPEN_MAX_US, TOLD_AFTER_US, TOLD_AT_ONCE_MAX, OpenRequestBook
from pipeline.core.events.ids import derive_attempt_id
from pipeline.core.events.records import Delivery, OpenRequests
from tests.support.outbound import make_delivery as describe_delivery

NOW_US = 1_795_500_460_000_000


def make_delivery() -> Delivery:
    """One of its own."""
    return describe_delivery(delivery_id=str(uuid4()))


def list_told(told: OpenRequests | None) -> list[str]:
    """Attempts of a record; none of no record."""
    return [] if told is None else [each["attempt_id"] for each in told.requests]


def test_only_long_requests_are_told() -> None:
    """A request that ends within a second is in no record."""
    book = OpenRequestBook()
    long, short, ended = (make_delivery() for _ in range(3))
    book.begin(ended, NOW_US)
    book.begin(long, NOW_US)
    book.begin(short, NOW_US + 1)
    book.end(ended)
    told = book.take_long("deliver", NOW_US + TOLD_AFTER_US)

    assert told == OpenRequests(
        process="deliver",
        requests=[
            {
                "attempt_id": derive_attempt_id(long.delivery_id, long.attempt_number),
                "started_at_us": NOW_US,
                "until_us": NOW_US + OPEN_MAX_US,
            }
        ],
    )
    assert 2 == len(book)


def test_each_is_told_once() -> None:
    """A request that goes on for long is not told again; its end is no news: the attempt is."""
    book, delivery = OpenRequestBook(), make_delivery()
    book.begin(delivery, NOW_US)

    assert 1 == len(list_told(book.take_long("deliver", NOW_US + TOLD_AFTER_US)))
    assert book.take_long("deliver", NOW_US + 10 * TOLD_AFTER_US) is None
    book.end(delivery)
    assert 0 == len(book)


def test_a_record_has_a_bound() -> None:
    """Requests that do not fit into a record are in the next one."""
    book = OpenRequestBook()
    for _ in range(TOLD_AT_ONCE_MAX + 1):
        book.begin(make_delivery(), NOW_US)
    first, second, third = (list_told(book.take_long("deliver", NOW_US + TOLD_AFTER_US)) for _ in range(3))

    assert [TOLD_AT_ONCE_MAX, 1, 0] == [len(first), len(second), len(third)]
    assert TOLD_AT_ONCE_MAX + 1 == len({*first, *second})
