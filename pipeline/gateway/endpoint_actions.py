"""Actions on an endpoint's state: owners see it, and are warned; a subscription that fails for long is disabled.

Repeated after a crash it changes nothing, and tells nothing anew: the events have the same ids.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from pipeline.core.events.operational import describe_certificate_expiring, describe_disabled, is_certificate_warning
from pipeline.core.events.records import EndpointState, Event
from pipeline.gateway.publishing import LeaseLostError
from pipeline.kafka.producer import KafkaUnavailableError
from pipeline.postgres.archive.endpoint_states import save_state
from pipeline.postgres.control.subscriptions import disable_subscription
from pipeline.postgres.pool import DatabaseFailed, Pool

AGAIN_AFTER_S = 1.0

log = structlog.get_logger()


class Publisher(Protocol):
    """Publishes applications."""

    async def publish_or_raise(self, application_id: str) -> int | None:
        """See `publishing.Publisher`."""


class EndpointActions:
    """Acts on the states that one gateway reads."""

    def __init__(
        self,
        pool: Pool,
        publisher: Publisher,
        *,
        tell: Callable[[Event], Awaitable[object]],
        hold_s: float,
        clock_us: Callable[[], int],
        again_after_s: float = AGAIN_AFTER_S,
    ) -> None:
        """`tell`: writes an event; `hold_s`: what waits for a subscription that is disabled here is kept so long."""
        self._pool = pool
        self._publisher = publisher
        self._tell = tell
        self._hold_s = hold_s
        self._clock_us = clock_us
        self._again_after_s = again_after_s

    async def apply(self, state: EndpointState) -> None:
        """Return when PostgreSQL and the log have all that follows."""
        while True:
            try:
                await self._apply(state)
                return
            except (KafkaUnavailableError, LeaseLostError, *DatabaseFailed) as error:
                log.warning("endpoint_state_waits", subscription_id=state.subscription_id, reason=str(error))
                await asyncio.sleep(self._again_after_s)

    async def _apply(self, state: EndpointState) -> None:
        await save_state(self._pool, state)
        if is_certificate_warning(state):
            await self._tell(describe_certificate_expiring(state, now_us=self._clock_us()))
        if state.disable_reason is None:
            return
        is_disabled = await disable_subscription(
            self._pool,
            state.application_id,
            state.subscription_id,
            reason=state.disable_reason,
            seen_version=state.endpoint_version,
            hold_s=self._hold_s,
        )
        await self._publisher.publish_or_raise(state.application_id)
        if not is_disabled:
            return  # its owner has changed it since, or deleted it
        log.warning(
            "subscription_disabled",
            subscription_id=state.subscription_id,
            reason=state.disable_reason,
            last_error=state.last_error,
        )
        await self._tell(describe_disabled(state, now_us=self._clock_us()))
