"""Losses that a writer can tell."""

from pipeline.kafka.acknowledged import Acknowledged
from pipeline.metrics import Metrics
from pipeline.topics import Topic, declare_topics


def test_an_offset_that_is_given_out_again_tells_what_was_lost() -> None:
    """Records acknowledged from there on are gone; other partitions are not meant, and gaps are no loss."""
    metrics = Metrics("gateway")
    acknowledged = Acknowledged(metrics)
    for offset in (7, 8, 12):
        acknowledged.note(("events", 0), offset)
    acknowledged.note(("events", 1), 3)
    for offset in (10, 11, 12, 13):
        acknowledged.note(("events", 0), offset)

    labels = {"topic": "events", "known_to": "writer"}
    assert 3 == metrics.registry.get_sample_value("hookline_lost_offsets_total", labels)


async def test_a_log_that_ends_before_what_was_acknowledged_has_lost_it() -> None:
    """Asked for, since nothing may be written for long; said once."""
    topics = declare_topics(prefix="x.", partitions=1, event_retention_s=3600)
    metrics = Metrics("gateway")
    acknowledged = Acknowledged(metrics)
    acknowledged.note((topics.routes.name, 0), 9)
    acknowledged.note((topics.endpoints.name, 0), 9)

    class Ends:
        of_endpoints = 4

        async def end_offset(self, topic: Topic, partition: int) -> int:
            return 10 if topic is topics.routes else self.of_endpoints

    ends, both = Ends(), (topics.routes, topics.endpoints)
    assert await acknowledged.take_lost(both, ends)
    assert not await acknowledged.take_lost(both, ends)
    acknowledged.note((topics.endpoints.name, 0), 4)
    ends.of_endpoints = 5
    assert not await acknowledged.take_lost(both, ends)
    labels = {"topic": topics.endpoints.name, "known_to": "writer"}
    assert 6 == metrics.registry.get_sample_value("hookline_lost_offsets_total", labels)
