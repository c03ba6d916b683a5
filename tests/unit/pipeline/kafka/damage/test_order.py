"""Records that do not follow: looked into once, then taken or dropped."""

from pipeline.kafka.damage.order import Looked, Order

PLACE = ("events", 0)


def test_what_follows_is_taken() -> None:
    """The usual record costs no look."""
    assert "take" == Order().judge(PLACE, 30, 30)


def test_gaps_in_what_was_looked_at_are_right() -> None:
    """One look is enough for all ends of transactions in it."""
    order = Order()
    assert "look" == order.judge(PLACE, 30, 31)
    order.note(PLACE, Looked(30, 60, 70))

    assert ["take", "take", "look"] == [order.judge(PLACE, *each) for each in ((30, 31), (41, 43), (60, 61))]


def test_what_cannot_be_is_dropped_after_a_look() -> None:
    """Records of a batch whose base offset is wrong: from before, or from behind the log's end."""
    order = Order()
    assert "look" == order.judge(PLACE, 40, 14)
    order.note(PLACE, Looked(40, 60, 60))

    assert ["drop", "drop", "take"] == [order.judge(PLACE, 40, offset) for offset in (14, 94, 40)]


def test_a_partition_that_went_away_is_forgotten() -> None:
    """Offsets that were seen of it may have changed meanwhile."""
    order = Order()
    order.note(PLACE, Looked(30, 60, 60))
    order.forget(PLACE)

    assert "look" == order.judge(PLACE, 30, 31)
