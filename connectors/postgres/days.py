"""Which day partitions of the archive a batch needs."""

from collections.abc import Iterable
from datetime import date, timedelta

from pipeline.clock import wall_us
from pipeline.config import ArchiveConfig
from pipeline.postgres.archive.tables import day_of


class Days:
    """A day far from this host's clock and from the log's is a mistake of some other clock: it gets no partition.

    Its rows go to the default partition.
    """

    def __init__(self, config: ArchiveConfig) -> None:
        self._before = timedelta(days=config.retention_days)
        self._after = timedelta(days=config.days_ahead)
        self._log_us = 0  # the broker's clock at the newest record that was read

    def note_log_times(self, appended_at_us: Iterable[int]) -> None:
        """The broker appended records at these times."""
        self._log_us = max(appended_at_us, default=self._log_us)

    def choose(self, days: set[date]) -> set[date]:
        """The days among these that get a partition."""
        todays = {day_of(wall_us()), day_of(self._log_us)}
        return {day for day in days if any(today - self._before <= day <= today + self._after for today in todays)}
