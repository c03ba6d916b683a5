"""One partition as long as this process owns it, and a record of it on its way. Where a record goes lives in `flow`."""

from dataclasses import dataclass, field

from connectors.sink import Incoming, LogRecord, Place
from pipeline.core.lanes.budget import Account
from pipeline.core.log.unsettled_age import UnsettledAge
from pipeline.core.log.watermark import Watermark


@dataclass(slots=True, eq=False)
class Partition:
    """Which offsets of one partition are settled, and how many of its records the sink holds."""

    place: Place
    mark: Watermark
    age: UnsettledAge = field(default_factory=UnsettledAge)
    open: int = 0  # records given to the sink and not settled
    is_ours: bool = True  # not being given away, and not gone
    before: "Partition | None" = None  # of the log that was there before, whose records may be open yet

    @property
    def is_settled(self) -> bool:
        """Is everything settled that was read, of the log before as well?"""
        if self.before is not None and not self.before.open:
            self.before = self.before.before
        return self.before is None and not len(self.mark)


@dataclass(slots=True, eq=False)
class Work:
    """A record on its way through this process."""

    record: LogRecord
    partition: Partition
    incoming: Incoming
    account: Account | None = None  # of its lane, as long as the record counts there

    @property
    def size_bytes(self) -> int:
        return len(self.record.value or b"")
