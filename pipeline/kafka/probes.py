"""Probes: the smallest records there are. Whether a topic takes one shows whether it takes any, now and from us."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain, count
from typing import Protocol

from pipeline.clock import wall_us
from pipeline.core.events.records import Probe, to_bytes
from pipeline.core.log.partition import locate_partition
from pipeline.kafka.failures import KafkaUnavailableError, ToSend
from pipeline.kafka.producer import Placement
from pipeline.supervisor import take_notice
from pipeline.topics import Topic

PROBE_KEY = b"hookline.probe"
# A topic that acknowledges nothing for so long counts as not writable.
STALLED_AFTER_S = 5.0


class ProbeProducer(Protocol):
    """Writes to the log."""

    def send_bytes(self, records: Sequence[ToSend]) -> "asyncio.Future[Placement]": ...


def make_probe(process: str) -> bytes:
    """The value of a probe."""
    return to_bytes(Probe(process=process, written_at_us=wall_us()))


async def write_probes(
    producer: ProbeProducer, probes: Iterable[tuple[Topic, bytes]], *, process: str, timeout_s: float | None
) -> dict[tuple[Topic, bytes], str]:
    """Write probes, by topic and key: those not taken, or not in time, each with the reason."""
    value = make_probe(process)
    written = {probe: producer.send_bytes([(*probe, value)]) for probe in probes}
    await asyncio.wait(written.values(), timeout=timeout_s)
    failed = {}
    for (topic, key), outcome in written.items():
        if not outcome.done():
            outcome.add_done_callback(take_notice)  # its error may come too late
            failed[topic, key] = f"{topic.name}: no acknowledgement of a probe for {timeout_s:g} s"
        elif isinstance(error := outcome.exception(), KafkaUnavailableError):
            failed[topic, key] = f"{topic.name}: {error}"
        elif error is not None:
            raise error
    return failed


def choose_probe(record: ToSend) -> tuple[Topic, bytes]:
    """Topic and key of a probe that goes where a record goes."""
    topic, key = record[0], record[1]
    if key is None:
        return topic, PROBE_KEY
    return topic, _find_key(locate_partition(key, topic.partitions), topic.partitions)


@cache
def _find_key(partition: int, partitions: int) -> bytes:
    """A key of probes in this partition. A record's own would replace what is there in a compacted topic."""
    keys = chain([PROBE_KEY], (b"%s.%d" % (PROBE_KEY, number) for number in count()))
    return next(key for key in keys if locate_partition(key, partitions) == partition)
