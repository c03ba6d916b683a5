"""Provides a case before its load: an organization, applications with secrets, subscriptions to the receiver."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.cases.scenario import Case, Group
from bench.instruments.plan import Audience
from bench.staging.control import Control
from pipeline.postgres.control.subscription_copies import copy_subscription
from pipeline.postgres.pool import Pool
from pipeline.supervisor import first_failure

AT_ONCE = 8
SERVICE, RESOURCE_TYPE, VERB = EVENT_TYPE = ("bench", "event", "sent")
LABEL = "bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """A group that is there. `audiences` as in the group; the endpoints of the n-th start at `first + n * fan_out`."""

    group: Group
    first: int
    application_ids: tuple[str, ...]
    audiences: tuple[Audience, ...]
    subscription_ids: tuple[str, ...]  # those that match, in no order

    @property
    def end(self) -> int:
        return self.first + self.group.endpoints


async def provision(control: Control, case: Case, *, receiver: str, pool: Pool | None) -> list[Provisioned]:
    """Create all that a case needs. `receiver`: the URL without a path; `pool`: the database, if known. Raises
    `BenchError`.
    """
    organization_id = (await control.create("/organizations", {"name": "Benchmark"}))["organization_id"]
    provisioned = []
    first = 0
    for group in case.groups:
        provisioned.append(
            await _provision_group(
                control,
                group,
                pool=pool,
                organization_id=organization_id,
                receiver=receiver,
                first=first,
            )
        )
        first += group.endpoints
    return provisioned


async def remove(control: Control, groups: Sequence[Provisioned]) -> None:
    """Delete the applications, which cancels waiting deliveries; the archive stays."""
    for group in groups:
        for application_id in group.application_ids:
            await control.delete(f"/applications/{application_id}")


async def _provision_group(
    control: Control, group: Group, *, pool: Pool | None, organization_id: str, receiver: str, first: int
) -> Provisioned:
    applications = [
        await _provision_application(control, f"{group.name} {number}", organization_id)
        for number in range(min(group.applications, group.audiences))
    ]
    audiences = tuple(
        Audience(
            application_id=applications[number % len(applications)][0],
            secret=applications[number % len(applications)][1],
            event_type=".".join(EVENT_TYPE),
            labels={LABEL: f"{group.name}-{number}"},
        )
        for number in range(group.audiences)
    )
    if group.idle_subscriptions:
        for application_id, _ in applications:
            await _provision_idle(control, pool, application_id, group.idle_subscriptions, receiver)
    subscription_ids = await _limit(
        control.create("/subscriptions", form) for form in _describe_matching(group, audiences, receiver, first)
    )
    return Provisioned(
        group=group,
        first=first,
        application_ids=tuple(application_id for application_id, _ in applications),
        audiences=audiences,
        subscription_ids=tuple(created["subscription_id"] for created in subscription_ids),
    )


async def _provision_idle(control: Control, pool: Pool | None, application_id: str, count: int, receiver: str) -> None:
    """Subscriptions that match nothing. They become known with those that are made after them."""
    form = _describe_subscription(application_id, {LABEL: "idle"}, receiver)
    if pool is None:
        await _limit(control.create("/subscriptions", form) for _ in range(count))
        return
    first = await control.create("/subscriptions", form)
    await copy_subscription(pool, first["subscription_id"], count - 1)


async def _provision_application(control: Control, name: str, organization_id: str) -> tuple[str, str]:
    """Create an application; its id and a secret."""
    application = await control.create("/applications", {"organization_id": organization_id, "name": name})
    application_id: str = application["application_id"]
    secret = await control.create("/application_secrets", {"application_id": application_id, "name": "bench"})
    event_type = {"service": SERVICE, "resource_type": RESOURCE_TYPE, "verb": VERB}
    await control.create("/event_types", {"application_id": application_id, **event_type})
    return application_id, secret["token"]


def _describe_matching(
    group: Group, audiences: tuple[Audience, ...], receiver: str, first: int
) -> Iterator[dict[str, Any]]:
    for number, audience in enumerate(audiences):
        for each in range(group.fan_out):
            url = f"{receiver}/e/{first + number * group.fan_out + each}"
            form = _describe_subscription(audience.application_id, audience.labels, url)
            wishes = {"retry_delays_s": group.retry_delays_s, "rate_per_s": group.rate_per_s}
            delivery = {name: value for name, value in wishes.items() if value is not None}
            yield form | {"delivery": delivery} if delivery else form


def _describe_subscription(application_id: str, labels: dict[str, str], url: str) -> dict[str, Any]:
    return {
        "application_id": application_id,
        "is_enabled": True,
        "event_types": [".".join(EVENT_TYPE)],
        "labels": labels,
        "target": {"type": "http", "method": "POST", "url": url, "headers": {}},
    }


async def _limit(work: Iterator[Coroutine[Any, Any, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Do all, a few at a time."""
    done: list[dict[str, Any]] = []

    async def take() -> None:
        for each in work:
            done.append(await each)  # noqa: PERF401 - an asynchronous comprehension would add them all at its end

    with first_failure():
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(take())
    return done
