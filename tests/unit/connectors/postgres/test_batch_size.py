from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.batch_size import BatchSize


def test_there_is_no_bound_at_first() -> None:
    """All that waits is written at once, as long as the server takes it."""
    size = BatchSize()
    size.grow(5000)

    assert 5000 == size.choose(5000)


def test_one_record_is_always_tried() -> None:
    """The server may be in trouble, whatever the amount: then it is asked again with a single record."""
    size = BatchSize()
    for _ in range(20):
        size.shrink(size.choose(5000))

    assert 1 == size.choose(5000)


def test_it_grows_when_there_is_as_much_to_write() -> None:
    """Small batches say nothing about what the server takes."""
    size = BatchSize()
    size.shrink(200)
    size.grow(10)
    assert 100 == size.choose(5000)
    size.grow(100)
    assert 112 == size.choose(5000)


@given(limit=st.integers(1, 6000), records=st.integers(1, 20_000))
def test_everything_is_written(limit: int, records: int) -> None:
    """A server that takes `limit` records at once gets all, and gives up no more than every second transaction."""
    size, waiting, given_up, committed = BatchSize(), records, 0, 0
    while waiting:
        count = size.choose(waiting)
        if count > limit:
            size.shrink(count)
            given_up += 1
        else:
            size.grow(count)
            waiting -= count
            committed += 1

    assert given_up <= committed + 15
