from pipeline.commands.up.keeper import Backoff


def test_it_doubles_to_ten_seconds() -> None:
    """The wait begins with 0.2 s, for what dies again and again."""
    backoff = Backoff()

    delays = [backoff.take(0.1) for _ in range(8)]

    assert [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0] == delays


def test_half_a_minute_of_life_is_a_new_beginning() -> None:
    """A process that died once an hour ago is not punished for it."""
    backoff = Backoff()
    for _ in range(5):
        backoff.take(1.0)

    assert [6.4, 0.2, 0.4] == [backoff.take(29.9), backoff.take(30.0), backoff.take(0.0)]
