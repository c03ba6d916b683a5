"""Reads the batch of a known record again, by its bytes; the record was read before, here or in another process."""

from aiokafka.record.default_records import DefaultRecordBatch

from pipeline.config import KafkaConfig
from pipeline.kafka.damage.batches import Bad, walk
from pipeline.kafka.damage.raw_log import RawLog
from pipeline.kafka.damage.scan import unpack
from pipeline.kafka.damage.survey import UNREADABLE
from pipeline.kafka.damage.transactions import Transactions
from pipeline.kafka.damage.unpacking import bound_unpacking
from pipeline.kafka.record import LogRecord, Place

ONE_BATCH = 1  # a broker gives one whole batch, however few bytes are asked for


class BatchReader:
    """Blocks; for one thread. Connects with the first read."""

    def __init__(self, config: KafkaConfig) -> None:
        bound_unpacking(config.batch_unpacked_max_bytes)
        self._raw = RawLog(config)

    def read(self, place: Place, offset: int) -> list[LogRecord] | str:
        """The records of the batch around an offset, or why there are none. Raises `TimeoutError`: Kafka is silent."""
        piece = self._raw.fetch(place, offset, ONE_BATCH)
        if not piece.begin <= offset < piece.end:
            return f"{place[0]} [{place[1]}] has the offsets {piece.begin} to {piece.end - 1}, and {offset} no more"
        seen = walk(piece.data, offset, piece.end, is_whole=True)
        if not seen.found:
            return UNREADABLE
        batch = seen.found[0]
        if isinstance(batch, Bad):
            return batch.reason
        try:
            whole = DefaultRecordBatch(piece.data[batch.at : batch.at + batch.size])
            return unpack(place, whole, Transactions(()), reads_traces=False)
        except Exception as error:  # whatever aiokafka, a decompressor or Cython stumbles over
            return str(error) or type(error).__name__

    def close(self) -> None:
        """Close the connections."""
        self._raw.close()
