"""The servers a gateway uses: the primary, and read replicas, read from in turns. Any of them may be away."""

import asyncio
import math

from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.core.log.replay_lag import ReplayLag
from pipeline.metrics import Metrics
from pipeline.postgres.pool import Pool, open_pool
from pipeline.postgres.pool_watch import PoolWatch
from pipeline.process import Check


class Databases:
    """Made by `open_databases`; `watch` must run."""

    def __init__(
        self,
        primary: Pool,
        ids: Pool,
        replicas: list[Pool],
        metrics: Metrics,
        *,
        name: str,
        replica_lag_max_s: float = math.inf,
    ) -> None:
        self.primary = primary
        self._replica_lag_max_s = replica_lag_max_s
        self._turn = 0
        # asked for every event that comes alone: at a low rate that was a quarter of the gateway's processor time
        self.ids = ids
        self._replicas = replicas
        lag = ReplayLag()
        self._watches = [PoolWatch(primary, metrics, name=name, is_for_changes=True, lag=lag)]
        self._watches += [
            PoolWatch(pool, metrics, name=f"{name}-reads-{number}", is_for_changes=False, lag=lag)
            for number, pool in enumerate(replicas, 1)
        ]

    @property
    def reader(self) -> Pool:
        """A replica that can be used and is not far behind, in turns; the primary when there is none."""
        for _ in self._replicas:
            number, self._turn = self._turn, (self._turn + 1) % len(self._replicas)
            watch = self._watches[1 + number]
            if watch.check() is None and watch.lag_s <= self._replica_lag_max_s:
                return self._replicas[number]
        return self.primary

    def list_checks(self) -> dict[str, Check]:
        """For health: `postgres`, `postgres-reads-1`, …"""
        names = ["postgres", *(f"postgres-reads-{number}" for number in range(1, len(self._watches)))]
        return {name: watch.check for name, watch in zip(names, self._watches, strict=True)}

    async def watch(self) -> None:
        """Runs for ever."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run())

    async def close(self) -> None:
        for pool in (self.ids, self.primary, *self._replicas):
            await pool.close()


async def open_databases(config: DatabaseConfig, metrics: Metrics, *, name: str) -> Databases:
    """Returns at once: what is away is connected to as soon as it is there."""

    async def open_one(url: SecretStr, suffix: str = "", *, size_max: int | None = None, is_bare: bool = False) -> Pool:
        return await open_pool(
            config,
            url,
            name=f"{name}{suffix}",
            size_min=config.pool_min_size,
            size_max=size_max,
            is_bare=is_bare,
            is_needed=False,
        )

    return Databases(
        await open_one(config.write_url),
        await open_one(config.write_url, "-ids", size_max=1, is_bare=True),
        [await open_one(url, f"-reads-{number}") for number, url in enumerate(config.read_urls, 1)],
        metrics,
        name=name,
        replica_lag_max_s=config.replica_lag_max_s,
    )
