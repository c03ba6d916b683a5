"""How far the archive is with every partition, and with which topics: what a backup of it says."""

from psycopg.rows import tuple_row

from pipeline.core.log.positions import Place
from pipeline.core.log.restoring import Noted
from pipeline.postgres.pool import Pool

NOTED = b"select topic, partition, next_offset, topic_id, appended_at_us from archive_offsets"


async def read_noted(pool: Pool) -> dict[Place, Noted]:
    """Read the position of each partition that the archive has begun with."""
    rows = await pool.fetch(NOTED, (), tuple_row)
    return {(topic, partition): Noted(*others) for topic, partition, *others in rows}
