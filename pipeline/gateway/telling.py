"""Owners are notified by operational events: before a subscription is disabled, when it recovers, of deliveries that go
on failing or were given up, and of changes.

Notifications due are in PostgreSQL, written with their cause. Each is deleted when the log has its event, so that
a crash may tell again, under the same id, but never leaves out.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import structlog

from pipeline.core.events.operational import (
    describe_attempt_failing,
    describe_change,
    describe_exhausted,
    describe_failing,
    describe_recovered,
)
from pipeline.core.events.records import Event
from pipeline.core.units import SECOND_US
from pipeline.kafka.producer import KafkaUnavailableError, LogProducer
from pipeline.postgres.control.telling import (
    TOLD_MAX,
    has_to_tell,
    take_changes,
    take_failing,
    take_failing_attempts,
    take_given_up,
    take_recovered,
)
from pipeline.postgres.pool import DatabaseUnavailable, Pool
from pipeline.topics import Topics

INTERVAL_S = 1.0
# of the time after which a subscription is disabled
WARN_SHARE = 0.5

log = structlog.get_logger()
Row = TypeVar("Row")


class Teller:
    """Makes the operational events of one gateway. Gateways divide the work by rows that they lock."""

    def __init__(
        self, pool: Pool, producer: LogProducer, topics: Topics, *, disable_after_s: float, clock_us: Callable[[], int]
    ) -> None:
        self._pool = pool
        self._producer = producer
        self._topics = topics
        self._clock_us = clock_us
        self._disable_after_s = disable_after_s

    async def run(self) -> None:
        """Runs for ever."""
        while True:
            try:
                while await self._tell() >= TOLD_MAX:
                    pass
            except (KafkaUnavailableError, *DatabaseUnavailable) as error:
                log.warning("telling_waits", reason=str(error))
            await asyncio.sleep(INTERVAL_S)

    async def _tell(self) -> int:
        """The largest number of notifications of one kind."""
        now_us = self._clock_us()
        before_us = now_us - round(self._disable_after_s * WARN_SHARE * SECOND_US)
        if not await has_to_tell(self._pool, before_us=before_us):
            return 0
        return max(
            await self._send_each(
                take_changes(self._pool),
                lambda each: describe_change(
                    each.application_id,
                    audit_id=each.audit_id,
                    resource=each.resource,
                    resource_id=each.resource_id,
                    action=each.action,
                    changed=sorted(each.changes),
                    actor={"kind": each.actor_kind, "id": each.actor_id},
                    changed_at_us=round(each.changed_at.timestamp() * SECOND_US),
                    now_us=now_us,
                ),
            ),
            await self._send_each(
                take_failing(self._pool, before_us=before_us),
                lambda each: describe_failing(
                    each.application_id,
                    each.subscription_id,
                    since_us=each.since_us,
                    disable_after_s=self._disable_after_s,
                    now_us=now_us,
                ),
            ),
            await self._send_each(
                take_recovered(self._pool),
                lambda each: describe_recovered(
                    each.application_id, each.subscription_id, since_us=each.since_us, now_us=now_us
                ),
            ),
            await self._send_each(
                take_given_up(self._pool),
                lambda each: describe_exhausted(
                    each.application_id,
                    dead_id=each.dead_id,
                    subscription_id=each.subscription_id,
                    delivery_id=each.delivery_id,
                    event_id=each.event_id,
                    reason=each.reason,
                    died_at_us=each.died_at_us,
                    now_us=now_us,
                ),
            ),
            await self._send_each(
                take_failing_attempts(self._pool),
                lambda each: describe_attempt_failing(
                    each.application_id,
                    attempt_id=each.attempt_id,
                    subscription_id=each.subscription_id,
                    delivery_id=each.delivery_id,
                    event_id=each.event_id,
                    attempts=each.attempts,
                    error=each.error_class,
                    response_status=each.response_status,
                    failed_at_us=each.failed_at_us,
                    next_attempt_at_us=each.next_attempt_at_us,
                    now_us=now_us,
                ),
            ),
        )

    async def _send_each(self, taking: AbstractAsyncContextManager[list[Row]], describe: Callable[[Row], Event]) -> int:
        """Write the events of what is taken; returns how many. What is taken is let go when all are in the log."""
        async with taking as rows:
            for event in [describe(row) for row in rows]:
                await self._producer.send(self._topics.events, event.application_id, event)
        return len(rows)
