"""Records come in until the process has ended."""

from unittest.mock import Mock

from connectors.runtime.commits import Commits
from connectors.runtime.intake import Intake
from connectors.runtime.log_changes import LogChanges
from connectors.runtime.owned import Owned
from connectors.runtime.positions import Positions
from connectors.sink import LogRecord
from pipeline.config import WorkerConfig
from pipeline.kafka.read_faults import ReadFaults
from pipeline.metrics import Metrics
from tests.unit.connectors.runtime.test_flow import NOW_US, PLACE, OneFlow


async def test_the_end_passes_over_no_record() -> None:
    """Records that come after the stop stay unsettled, also when the partition is then known to be read to its end."""
    one, owned, metrics = OneFlow(), Owned(), Metrics("test")
    owned.set(one.partition)
    positions = Positions(owned, None, Mock())
    commits = Commits(owned, commit=Mock(), bookmark=None, config=WorkerConfig(), metrics=metrics)
    intake = Intake(
        owned,
        one.flow,
        positions,
        lead_names=(),
        skips_probes=False,
        release=lambda record: one.released.append(record.value),
        fail=one.errors.append,
        clock_us=lambda: NOW_US,
    )
    changes = LogChanges(owned, commits, positions, faults=ReadFaults(metrics), metrics=metrics)
    one.flow.stop()
    intake.receive([LogRecord(*PLACE, 0, b"lane", b"a", NOW_US), LogRecord(*PLACE, 1, b"lane", b"b", NOW_US)])
    changes.reached(PLACE, 3)

    assert 0 == commits.describe([one.partition])[PLACE].offset
    assert [b"a", b"b"] == one.released
    assert [] == one.sink.classified
    assert [] == one.errors
