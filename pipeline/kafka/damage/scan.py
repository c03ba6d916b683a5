"""Reads part of a partition without librdkafka if a batch of it is damaged: librdkafka 2.16 may abort the process.

Behind a checksum that does not fit it goes on at another byte of the answer, and takes what lies there for a header.
"""

from collections.abc import Mapping
from typing import NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch

from pipeline.config import KafkaConfig
from pipeline.kafka.damage.batches import Bad
from pipeline.kafka.damage.survey import Survey
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import LogRecord, Place


class Damaged(NamedTuple):
    """What can be read of a part that has bad batches, in order, and what cannot."""

    records: list[LogRecord]
    faults: list[ReadFault]


def scan(config: KafkaConfig, parts: Mapping[Place, tuple[int, int]]) -> dict[Place, Damaged]:
    """Which of these have bad batches between two offsets, and what can be read there. Blocks.

    Of an intact part nothing is kept. Raises `TimeoutError` when Kafka does not answer.
    """
    survey = Survey(config)
    try:
        return {
            place: read(survey, place, *part)
            for place, part in parts.items()
            if any(isinstance(each, Bad) for each in survey.each_batch(place, *part))
        }
    finally:
        survey.close()


def read(survey: Survey, place: Place, begin: int, end: int) -> Damaged:
    """All records between two offsets, aborted ones too: no writer of compacted topics has transactions."""
    records: list[LogRecord] = []
    faults: list[ReadFault] = []
    for each in survey.each_batch(place, begin, end):
        if isinstance(each, Bad):
            faults.append(ReadFault(place, "unreadable", each.begin, each.end or end, each.reason))
        else:
            records += [record for record in unpack(place, each) if begin <= record.offset < end]
    return Damaged(records, faults)


def unpack(place: Place, data: bytes) -> list[LogRecord]:
    """The records of a good batch; of a control batch none."""
    batch = DefaultRecordBatch(data)
    if batch.is_control_batch:
        return []
    return [
        LogRecord(place[0], place[1], record.offset, record.key, record.value, record.timestamp * 1000)
        for record in batch
    ]
