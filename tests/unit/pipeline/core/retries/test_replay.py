import pytest

from pipeline.core.retries.replay import Made, number_replay


@pytest.mark.parametrize(
    ("made", "number"),
    [
        (Made(), 2),
        (Made(last_number=1), 2),
        (Made(last_number=3), 4),
        (Made(last_number=3, is_retry_waiting=True), 5),
        (Made(last_number=1, last_asked_number=2), 3),
        (Made(last_number=3, is_retry_waiting=True, last_asked_number=5), 6),
        (Made(last_number=9, last_asked_number=2), 10),
    ],
    ids=["first one to come", "made", "several", "a retry waits", "asked already", "asked beside a retry", "long ago"],
)
def test_no_two_requests_share_a_number(made: Made, number: int) -> None:
    """A replay's number is behind what was made, what waits, and what was asked for before."""
    assert number == number_replay(made)
