"""Looking at the installation once a second while the load runs: processor time, memory, lag, archived rows."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout

from bench.instruments.child import BenchChild
from bench.instruments.plan import GeneratorProgress, ReceiverProgress
from bench.sampling.accounting import Meter, Usage, measure_machine_cpu_s
from bench.sampling.exposition import total
from pipeline.clock import wall_us

INTERVAL_S = 1.0
SCRAPE_TIMEOUT_S = 5.0
ARCHIVE = "archive"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One look. `cpu_s` and counts rise from the start; `lag` and `runnable_lag`: records, by process."""

    at_us: int
    cpu_s: dict[str, float]
    rss_mib: dict[str, float]
    machine_cpu_s: float
    lag: dict[str, float]
    runnable_lag: dict[str, float]
    archived_rows: dict[str, float]  # by table, since the archive was started
    accepted: list[int]
    received: list[int]


TABLES = EVENTS, ATTEMPTS = "events", "attempts"
# Figures that are not needed: accepted events are known from the answers.
SILENT = frozenset({"gateway", "listen"})


class Sampler:
    """Takes samples. `on_sample` is called with each. An async context manager."""

    def __init__(
        self,
        meter: Meter,
        metrics: Mapping[str, str],
        *,
        generator: BenchChild[GeneratorProgress],
        receiver: BenchChild[ReceiverProgress],
        on_sample: Callable[[Sample], None],
    ) -> None:
        self._meter = meter
        self._metrics = metrics
        self._generator = generator
        self._receiver = receiver
        self._on_sample = on_sample
        self._pages: dict[str, str] = {}
        self.samples: list[Sample] = []

    async def __aenter__(self) -> "Sampler":
        self._session = ClientSession(timeout=ClientTimeout(total=SCRAPE_TIMEOUT_S))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def run(self) -> None:
        """Every second, for ever. Raises `BenchError` when a process is gone."""
        while True:
            await self.take()
            await asyncio.sleep(INTERVAL_S - time.time() % INTERVAL_S)

    async def take(self) -> Sample:
        """A sample now. Raises `BenchError`."""
        await self._scrape([name for name in self._metrics if name.partition(".")[0] not in SILENT])
        used: dict[str, Usage] = self._meter.measure()
        pages = self._pages
        sample = Sample(
            at_us=wall_us(),
            cpu_s={name: usage.cpu_s for name, usage in used.items()},
            rss_mib={name: usage.rss_mib for name, usage in used.items()},
            machine_cpu_s=measure_machine_cpu_s(),
            lag={name: total(page, "hookline_lag_records") for name, page in pages.items()},
            runnable_lag={name: total(page, "hookline_runnable_lag_records") for name, page in pages.items()},
            archived_rows={table: self._count_archived(table) for table in TABLES},
            accepted=list(self._generator.last.accepted),
            received=list(self._receiver.last.received),
        )
        self.samples.append(sample)
        self._on_sample(sample)
        return sample

    async def count_attempts(self) -> float | None:
        """Attempts archived since the first sample, asked now; None: there is no archive to ask."""
        archives = [name for name in self._metrics if name.partition(".")[0] == ARCHIVE]
        if not archives or not self.samples:
            return None
        await self._scrape(archives)
        return self._count_archived(ATTEMPTS) - self.samples[0].archived_rows[ATTEMPTS]

    def _count_archived(self, table: str) -> float:
        return sum(
            total(page, "hookline_archive_rows_total", f'table="{table}"')
            for name, page in self._pages.items()
            if name.partition(".")[0] == ARCHIVE
        )

    async def _scrape(self, names: Sequence[str]) -> None:
        async def read(name: str, url: str) -> None:
            try:
                async with self._session.get(url) as response:
                    self._pages[name] = await response.text()
            except (ClientError, TimeoutError):
                return  # busy; what it said before stands

        await asyncio.gather(*(read(name, self._metrics[name]) for name in names))
