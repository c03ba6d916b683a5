from pipeline.commands.up.screen import SHOWN_PER_SECOND, LineLimit


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_flood_is_cut_and_counted() -> None:
    """A terminal gets a few lines of each second, and how many there were more."""
    shown: list[str] = []
    clock = Clock()
    line_limit = LineLimit(shown.append, clock)
    for number in range(1500):
        line_limit.pass_on(f"first {number}")
    clock.now_s = 101.2
    line_limit.pass_on("second")

    assert [f"first {number}" for number in range(SHOWN_PER_SECOND)] == shown[:SHOWN_PER_SECOND]
    assert ["... and 1,480 more within that second; all are in the log", "second"] == shown[SHOWN_PER_SECOND:]


def test_the_rest_is_said_when_its_second_is_over_though_nothing_follows() -> None:
    """The rest is reported once, and not before: within the second more may come."""
    shown: list[str] = []
    clock = Clock()
    line_limit = LineLimit(shown.append, clock)
    for number in range(SHOWN_PER_SECOND + 7):
        line_limit.pass_on(f"line {number}")
        line_limit.keep_time()

    assert SHOWN_PER_SECOND == len(shown)
    clock.now_s = 101.0
    line_limit.keep_time()
    line_limit.keep_time()

    assert ["... and 7 more within that second; all are in the log"] == shown[SHOWN_PER_SECOND:]


def test_the_rest_is_said_at_the_end() -> None:
    """The rest is said in the second that the flood came in."""
    shown: list[str] = []
    line_limit = LineLimit(shown.append, Clock())
    for number in range(SHOWN_PER_SECOND + 1):
        line_limit.pass_on(f"line {number}")
    line_limit.finish()

    assert ["... and 1 more within that second; all are in the log"] == shown[SHOWN_PER_SECOND:]


def test_nothing_is_said_when_nothing_was_left_out() -> None:
    """The answer is empty, however often it is asked."""
    shown: list[str] = []
    line_limit = LineLimit(shown.append, Clock())
    line_limit.pass_on("one")
    line_limit.keep_time()
    line_limit.finish()

    assert ["one"] == shown
