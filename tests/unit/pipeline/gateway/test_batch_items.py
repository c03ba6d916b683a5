import tracemalloc

import pytest

from pipeline.gateway.batch_items import EVENTS_MAX, list_items
from pipeline.gateway.problems import Problem

MEMORY_MAX_BYTES = 1_000_000  # a list of the million items below takes 88 MB


def test_the_items_come_in_their_order_as_they_were_written() -> None:
    """Any JSON is an item, null as well; a thousand of them are a batch."""
    assert [b"1", b"null", b'{"a": []}', b'""'] == [bytes(each) for each in list_items(b'[1,null,{"a": []},""]')]
    assert EVENTS_MAX == len(list_items(b"[" + b",".join([b"{}"] * EVENTS_MAX) + b"]"))


@pytest.mark.parametrize("number", [0, EVENTS_MAX + 1, 1_000_000])
def test_no_more_items_are_made_than_a_batch_may_have(number: int) -> None:
    """None, one too many and a million of them are refused alike, and take no memory."""
    body = b"[" + b",".join([b"1"] * number) + b"]"
    tracemalloc.start()
    with pytest.raises(Problem) as raised:
        list_items(body)
    taken_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert "Validation" == raised.value.kind.id
    assert taken_bytes < MEMORY_MAX_BYTES
