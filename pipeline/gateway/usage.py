"""The daily quota of events: counted in memory, added up in PostgreSQL about once a second.

While PostgreSQL is away, counting goes on from the last known totals: events are accepted all the same.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import date, timedelta

import structlog

from pipeline.core.events.moments import EPOCH
from pipeline.core.events.operational import describe_quota
from pipeline.core.events.records import Event
from pipeline.core.limits.daily_quota import DailyQuota
from pipeline.kafka.producer import KafkaUnavailableError, LogProducer
from pipeline.postgres.control.event_usage import add_usage, forget_usage, read_usage
from pipeline.postgres.control.organization_quotas import read_daily_limits
from pipeline.postgres.pool import DatabaseFailed, DatabaseUnavailable, Pool
from pipeline.topics import Topics

INTERVAL_S = 0.5
LEARN_TIMEOUT_S = 0.5
KEPT_DAYS = 40

log = structlog.get_logger()


class EventUsage:
    """One gateway's. `limit` None: there is no quota, whatever organizations have, and nothing is counted."""

    def __init__(
        self, limit: int | None, pool: Pool, producer: LogProducer, topics: Topics, *, clock_us: Callable[[], int]
    ) -> None:
        self._quota = DailyQuota(limit) if limit is not None else None
        self._pool = pool
        self._producer = producer
        self._topics = topics
        self._clock_us = clock_us
        self._untold: deque[Event] = deque()  # what the log did not take yet

    @property
    def is_on(self) -> bool:
        """Is there a quota?"""
        return self._quota is not None

    async def find_room(self, application_id: str, wanted: int) -> int:
        """How many of `wanted` events may be accepted."""
        quota = self._quota
        if quota is None:
            return wanted
        quota.begin_day(self._find_day())
        if not quota.is_known(application_id):
            try:
                async with asyncio.timeout(LEARN_TIMEOUT_S):
                    quota.set_limits([application_id], await read_daily_limits(self._pool, [application_id]))
                    quota.learn({application_id: 0} | await read_usage(self._pool, quota.day, [application_id]), {})
            except (*DatabaseFailed, TimeoutError) as error:
                log.warning("usage_unknown", application_id=application_id, reason=str(error))
        return min(wanted, quota.find_room(application_id))

    def _find_day(self) -> date:
        return EPOCH.date() + timedelta(microseconds=self._clock_us())

    def count(self, application_id: str, amount: int = 1) -> None:
        """Count accepted events."""
        if self._quota is not None:
            self._quota.count(application_id, amount)

    async def run(self) -> None:
        """Runs for ever."""
        forgotten_on = None
        while self._quota is not None:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.add_up()
                if forgotten_on != self._quota.day:
                    await forget_usage(self._pool, before=self._find_day() - timedelta(days=KEPT_DAYS))
                    forgotten_on = self._quota.day
            except (KafkaUnavailableError, *DatabaseUnavailable) as error:
                log.warning("usage_waits", reason=str(error))

    async def add_up(self) -> None:
        """Add this gateway's counts to the total, and read it. Owners are notified at 80 and 100 percent."""
        quota = self._quota
        if quota is None:
            return
        day, added = quota.day, quota.take_own()
        known, totals = quota.list_known(), {}
        if known:
            quota.set_limits(known, await read_daily_limits(self._pool, known))
            totals = await read_usage(self._pool, day, known)
        if added:
            totals |= await add_usage(self._pool, day, added)
        if day != quota.day:
            return
        for application_id, percent in quota.learn(totals, added):
            event = describe_quota(
                application_id,
                percent=percent,
                limit=quota.find_limit(application_id),
                day=day,
                now_us=self._clock_us(),
            )
            self._untold.append(event)
        while self._untold:
            event = self._untold[0]
            await self._producer.send(self._topics.events, event.application_id, event)
            self._untold.popleft()
