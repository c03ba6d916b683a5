"""Was a log cut off before what was read of it? Offsets cannot tell once it has grown again; leaders' epochs can."""

from collections.abc import Mapping

from pipeline.config import KafkaConfig
from pipeline.kafka.damage.raw_log import RawLog
from pipeline.kafka.damage.scan import Scanner
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import Place


def find_cuts(config: KafkaConfig, reached: Mapping[Place, tuple[int, int]]) -> list[ReadFault]:
    """Which of these logs were cut off, by the position reached and the epoch of the leader before it (KIP-320).

    Blocks. Raises `TimeoutError`.
    """
    raw = RawLog(config)
    try:
        ends = {place: raw.find_epoch_end(place, epoch) for place, (_, epoch) in reached.items()}
    finally:
        raw.close()
    faults = []
    for place, (position, _) in reached.items():
        end = ends[place]
        if end is not None and end < position:
            reason = f"the log was cut off at {end} and has grown again"
            faults.append(ReadFault(place, "tail_lost", position, end, reason, position - end))
    return faults


def is_there(config: KafkaConfig, place: Place, offset: int, timestamp_ms: int) -> bool:
    """Is the record at this offset the one with this time? Blocks. Raises `TimeoutError`."""
    scanner = Scanner(config)
    try:
        return any(
            not isinstance(each, ReadFault) and any(record.timestamp_us == timestamp_ms * 1000 for record in each)
            for each in scanner.read(place, offset, offset + 1)
        )
    finally:
        scanner.close()
