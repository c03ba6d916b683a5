"""`GET /subscriptions/{subscription_id}/health`: how an endpoint is doing, from its newest deliveries."""

from typing import TypedDict

from aiohttp import web

from pipeline.core.events.moments import show_moment_or_none
from pipeline.gateway.answers import Id, Time, answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.control.subscriptions import find_own, show_health
from pipeline.gateway.operations import Operation
from pipeline.postgres.archive.endpoint_states import find_state
from pipeline.postgres.archive.recent_deliveries import RECENT_MAX, summarise_recent


class LatencyShown(TypedDict):
    """How long attempts took, in milliseconds; null: none was made."""

    p50: float | None
    p95: float | None
    p99: float | None


class SubscriptionHealth(TypedDict):
    """Figures of the newest 1,000 deliveries. `success_ratio`: of attempts, 0 to 1; null: none was made."""

    subscription_id: Id
    is_enabled: bool
    disabled_reason: str | None
    failing_since: Time | None
    parked_until: Time | None
    last_error: str | None
    deliveries: int
    deliveries_max: int
    waiting: int
    next_attempt_at: Time | None
    attempts: int
    success_ratio: float | None
    latency_ms: LatencyShown


def list_routes() -> list[Operation]:
    path = "/subscriptions/{subscription_id}/health"
    return [Operation("GET", path, show_subscription_health, answer=SubscriptionHealth)]


async def show_subscription_health(request: web.Request) -> web.Response:
    """Success ratio and latency of attempts, what waits, when the next attempt is due, and the breaker."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    subscription = await find_own(request, caller)
    state = show_health(await find_state(gateway.fresh_pool, subscription.subscription_id))
    recent = await summarise_recent(
        gateway.lookup_pool, subscription.application_id, subscription.subscription_id, now_us=gateway.clock.now_us()
    )
    shown: SubscriptionHealth = {
        "subscription_id": subscription.subscription_id,
        "is_enabled": subscription.content.is_enabled,
        "disabled_reason": subscription.disabled_reason,
        "failing_since": state["failing_since"],
        "parked_until": state["parked_until"],
        "last_error": state["last_error"],
        "deliveries": recent.deliveries,
        "deliveries_max": RECENT_MAX,
        "waiting": recent.waiting,
        "next_attempt_at": show_moment_or_none(recent.next_attempt_at_us),
        "attempts": recent.attempts,
        "success_ratio": recent.succeeded / recent.attempts if recent.attempts else None,
        "latency_ms": {"p50": recent.p50_ms, "p95": recent.p95_ms, "p99": recent.p99_ms},
    }
    return answer_json(shown)
