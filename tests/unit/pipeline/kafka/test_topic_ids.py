"""Ids of topics, as one broker or another says them."""

from collections import deque

from pipeline.kafka.topic_ids import accept_ids


def test_a_topic_that_was_made_again_stays_so() -> None:
    """A broker that was frozen still says the id of before: taken for a new one, reading would begin anew, twice."""
    former: deque[str] = deque(maxlen=10)
    known = accept_ids({}, {"a": "1", "b": "2"}, former)
    made_again = accept_ids(known, {"a": "3"}, former)
    said_by_another = accept_ids(made_again, {"a": "1", "b": "2"}, former)

    assert {"a": "3", "b": "2"} == made_again == said_by_another
    assert {"a": "4", "b": "2"} == accept_ids(said_by_another, {"a": "4"}, former)
