"""A broker of these tests' own, whose files they may damage."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from pipeline.core.events.records import Event
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.topics import Topic
from tests.support.eventually import eventually
from tests.support.kafka import format_prefix
from tests.support.segments import Segment


@dataclass(slots=True)
class OwnBroker:
    """`kafka` is replaced when it is started again."""

    kafka: EmbeddedKafka
    data_dir: Path

    @property
    def servers(self) -> str:
        return self.kafka.bootstrap_servers

    def segment(self, topic: Topic, partition: int = 0) -> Segment:
        return Segment(self.data_dir, topic.name, partition)


@pytest.fixture(scope="module")
def broker() -> Iterator[OwnBroker]:
    with tempfile.TemporaryDirectory(prefix="hookline-test-damage-") as directory:
        own = OwnBroker(EmbeddedKafka.start(Path(directory)), Path(directory))
        try:
            yield own
        finally:
            own.kafka.stop()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """The start of this test's topic names. They go with the broker."""
    return format_prefix(request.node.name, uuid4().hex[:8])


async def wait_for_events(database: str, expected: Sequence[Event]) -> None:
    async def check() -> bool:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            rows = await (await connection.execute("select event_id::text from events")).fetchall()
        missing = {event.event_id for event in expected} - {row[0] for row in rows}
        assert not missing, f"{len(missing)} of {len(expected)} events are not archived"
        return True

    await eventually(check, timeout_s=60)
