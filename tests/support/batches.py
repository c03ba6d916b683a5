"""Record batches as a broker keeps them, for tests of what reads their bytes."""

import struct
from collections.abc import Iterable

from aiokafka.record.default_records import DefaultRecordBatchBuilder


def make_batch(begin: int, values: Iterable[bytes]) -> bytes:
    """A batch whose first record has the offset `begin`."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=1,
        producer_epoch=0,
        base_sequence=0,
        batch_size=1 << 20,
    )
    for number, value in enumerate(values):
        assert builder.append(number, 1795500460000, b"k", value, []) is not None
    return struct.pack(">q", begin) + bytes(builder.build())[8:]
