"""The servers a gateway uses: the primary, and read replicas, read from in turns. Any of them may be away."""

import asyncio
import math
from dataclasses import dataclass

from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.core.log.replay_lag import ReplayLag
from pipeline.metrics import Metrics
from pipeline.postgres.pool import Pool, open_pool
from pipeline.postgres.pool_watch import PoolWatch
from pipeline.process import Check

# What one gateway's processor can have under way; more at once would only make each slower.
LOOKUPS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server. `lookups`: for single statements by `Pool.fetch` that change nothing; `pool`: for everything else."""

    pool: Pool
    lookups: Pool

    async def close(self) -> None:
        await self.lookups.close()
        await self.pool.close()


class Databases:
    """Made by `open_databases`; `watch` must run."""

    def __init__(
        self,
        primary: Server,
        ids: Pool,
        replicas: list[Server],
        metrics: Metrics,
        *,
        name: str,
        replica_lag_max_s: float = math.inf,
    ) -> None:
        self.primary = primary.pool
        self.primary_lookups = primary.lookups
        self._replica_lag_max_s = replica_lag_max_s
        self._turn = 0
        # asked for every event that comes alone: at a low rate that was a quarter of the gateway's processor time
        self.ids = ids
        self._primary = primary
        self._replicas = replicas
        lag = ReplayLag()
        self._watches = [_watch(primary, metrics, name=name, is_for_changes=True, lag=lag)]
        self._watches += [
            _watch(server, metrics, name=f"{name}-reads-{number}", is_for_changes=False, lag=lag)
            for number, server in enumerate(replicas, 1)
        ]

    @property
    def reader(self) -> Pool:
        """A replica that can be used and is not far behind, in turns; the primary when there is none."""
        return self._choose().pool

    @property
    def lookups(self) -> Pool:
        """The pool for reads by single statements of `Pool.fetch`."""
        return self._choose().lookups

    def _choose(self) -> Server:
        for _ in self._replicas:
            number, self._turn = self._turn, (self._turn + 1) % len(self._replicas)
            watch = self._watches[1 + number]
            if watch.check() is None and watch.lag_s <= self._replica_lag_max_s:
                return self._replicas[number]
        return self._primary

    def list_checks(self) -> dict[str, Check]:
        """List the checks of health: `postgres`, `postgres-reads-1`, …"""
        names = ["postgres", *(f"postgres-reads-{number}" for number in range(1, len(self._watches)))]
        return {name: watch.check for name, watch in zip(names, self._watches, strict=True)}

    async def watch(self) -> None:
        """Runs for ever."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run())

    async def close(self) -> None:
        await self.ids.close()
        for server in (self._primary, *self._replicas):
            await server.close()


def _watch(server: Server, metrics: Metrics, *, name: str, is_for_changes: bool, lag: ReplayLag) -> PoolWatch:
    return PoolWatch(
        server.pool, metrics, name=name, is_for_changes=is_for_changes, lag=lag, followers=(server.lookups,)
    )


async def open_databases(config: DatabaseConfig, metrics: Metrics, *, name: str) -> Databases:
    """Returns at once: a server that is away is connected to as soon as it is back."""

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

    async def open_server(url: SecretStr, suffix: str = "") -> Server:
        return Server(
            pool=await open_one(url, suffix),
            lookups=await open_one(url, f"{suffix}-lookups", size_max=min(LOOKUPS_MAX, config.pool_size), is_bare=True),
        )

    return Databases(
        await open_server(config.write_url),
        await open_one(config.write_url, "-ids", size_max=1, is_bare=True),
        [await open_server(url, f"-reads-{number}") for number, url in enumerate(config.read_urls, 1)],
        metrics,
        name=name,
        replica_lag_max_s=config.replica_lag_max_s,
    )
