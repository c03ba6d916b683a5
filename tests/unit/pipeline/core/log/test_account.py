"""The books of an application: both equations, and what does not add up."""

from pipeline.core.log.account import Account, add_up

WHOLE = {
    "events": 6,
    "matched": 3,
    "refused": 2,
    "waiting": 1,
    "deliveries": 15,
    "delivered": 1,
    "pending": 2,
    "parked": 3,
    "dead": 4,
    "cancelled": 5,
}


def test_what_adds_up_is_balanced() -> None:
    """Each count belongs to one of the two equations."""
    account = Account(**WHOLE)

    assert account.is_balanced
    assert (0, 0) == (account.unaccounted_events, account.unaccounted_deliveries)


def test_each_missing_one_is_seen() -> None:
    """The remainder shows any count that is one too low."""
    for name in WHOLE.keys() - {"events", "deliveries"}:
        account = Account(**WHOLE | {name: WHOLE[name] - 1})

        assert not account.is_balanced, name
        assert 1 == account.unaccounted_events + account.unaccounted_deliveries, name


def test_what_is_open_is_not_closed() -> None:
    """A day may be remembered when nothing of it is on its way."""
    ended = Account(events=2, matched=1, refused=1, deliveries=2, delivered=1, dead=1)

    assert ended.is_closed
    for name in ("waiting", "pending", "parked"):
        side = "events" if name == "waiting" else "deliveries"
        counts = ended.to_dict() | {name: 1, side: 3}
        assert not Account(**{each: counts[each] for each in WHOLE}).is_closed, name


def test_accounts_add_up() -> None:
    """Every count of the sum is the sum of the counts."""
    assert {name: 2 * count for name, count in WHOLE.items()} == {
        name: count for name, count in add_up([Account(**WHOLE), Account(**WHOLE)]).to_dict().items() if name in WHOLE
    }
