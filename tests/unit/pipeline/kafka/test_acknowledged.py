"""Losses that a writer can tell."""

from pipeline.kafka.acknowledged import Acknowledged
from pipeline.metrics import Metrics


def test_an_offset_that_is_given_out_again_tells_what_was_lost() -> None:
    """What was acknowledged from there on is gone; other partitions are not meant, and gaps are no loss."""
    metrics = Metrics("gateway")
    acknowledged = Acknowledged(metrics)
    for offset in (7, 8, 12):
        acknowledged.note(("events", 0), offset)
    acknowledged.note(("events", 1), 3)
    assert not acknowledged.lost_from
    for offset in (10, 11, 12, 13):
        acknowledged.note(("events", 0), offset)

    assert {"events"} == acknowledged.lost_from
    labels = {"topic": "events", "known_to": "writer"}
    assert 3 == metrics.registry.get_sample_value("hookline_lost_offsets_total", labels)
