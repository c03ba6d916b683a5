from prometheus_client import generate_latest

from pipeline.kafka.read_faults import ReadFault, ReadFaults
from pipeline.metrics import Metrics

FAULT = ReadFault(("events", 0), "unreadable", 30, 40, "crc")


def test_what_is_lost_counts_once() -> None:
    """A loss counts once, however often it is met; health names the last range and how much it is in all."""
    metrics = Metrics("test", topics=["events"])
    faults = ReadFaults(metrics)
    for fault in (FAULT, FAULT._replace(begin=50, end=55), FAULT):
        faults.note(fault)

    assert b'hookline_unreadable_records_total{topic="events"} 15.0' in generate_latest(metrics.registry)
    assert faults.check() == "offsets 30 to 39 of events [0] cannot be read: crc; 15 records since the start"
