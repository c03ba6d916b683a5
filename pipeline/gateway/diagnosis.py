"""Differences between the database and the log, item by item, for people. Changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from msgspec.structs import replace

from pipeline.config import KafkaConfig
from pipeline.core.events.records import Endpoint
from pipeline.core.routing.agreement import Verdict, judge
from pipeline.gateway.published_records import describe_endpoint
from pipeline.kafka.endpoints_view import EndpointsView
from pipeline.kafka.routes.applications import Head
from pipeline.kafka.routes_view import RoutesView
from pipeline.postgres.control.application_secrets import list_secrets
from pipeline.postgres.control.control_plane import ApplicationState, list_states
from pipeline.postgres.control.event_types import list_event_types
from pipeline.postgres.control.subscriptions import Subscription, list_subscriptions
from pipeline.postgres.pool import Pool
from pipeline.topics import Topics

SECRET_SHOWN_CHARS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`what`: application, version, event_type, secret, subscription or endpoint. `name`: which of them."""

    application_id: str
    what: str
    name: str
    problem: str


@asynccontextmanager
async def open_views(config: KafkaConfig, topics: Topics) -> AsyncIterator[tuple[RoutesView, EndpointsView]]:
    """The two views of what is published, started. Raises `StartError`."""
    routes, endpoints = RoutesView(config, topics.routes), EndpointsView(config, topics.endpoints)
    try:
        await asyncio.gather(routes.start(), endpoints.start())
        yield routes, endpoints
    finally:
        await asyncio.gather(routes.close(), endpoints.close())


async def find_differences(pool: Pool, routes: RoutesView, endpoints: EndpointsView) -> list[Difference]:
    """Everything that differs. The views have been started."""
    heads = dict(routes.heads())
    states = {state.application_id: state for state in await list_states(pool)}
    by_application: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints.list_present():
        by_application.setdefault(endpoint.application_id, {})[endpoint.subscription_id] = endpoint
    found = list(_list_ghosts(heads, states, by_application))
    for application_id, state in states.items():
        head = heads.get(application_id)
        found += _compare_version(state, head)
        subscriptions = await list_subscriptions(pool, application_id)
        if head is None or not head.deleted:
            found += await _compare_parts(pool, state, subscriptions, routes)
        found += _compare_endpoints(application_id, subscriptions, by_application.get(application_id, {}))
    return found


def _list_ghosts(
    heads: Mapping[str, Head], states: Mapping[str, ApplicationState], endpoints: Mapping[str, Mapping[str, Endpoint]]
) -> Iterator[Difference]:
    for application_id, head in heads.items():
        if application_id not in states and not head.deleted:
            problem = f"only in the log, version {head.version}: it accepts and delivers"
            yield Difference(application_id=application_id, what="application", name=application_id, problem=problem)
    for application_id, of_application in endpoints.items():
        if application_id not in states:
            for name in of_application:
                yield Difference(application_id=application_id, what="endpoint", name=name, problem="only in the log")


def _compare_version(state: ApplicationState, head: Head | None) -> Iterator[Difference]:
    verdict = judge(
        (head.version, head.change_id) if head is not None else None,
        newest=(state.routes_version, state.change_id),
        published=(state.published_version, state.published_change_id),
    )
    logged = str(head.version) if head is not None else "none"
    problem = None
    if verdict is not Verdict.AGREED:
        problem = f"{verdict}: the log has {logged}, the database {state.published_version} to {state.routes_version}"
    elif state.published_version < state.routes_version:
        problem = f"not published yet: the log has {logged}, the database {state.routes_version}"
    if problem is not None:
        yield Difference(application_id=state.application_id, what="version", name=logged, problem=problem)


def _compare_endpoints(
    application_id: str, subscriptions: Sequence[Subscription], logged: Mapping[str, Endpoint]
) -> Iterator[Difference]:
    wanted = {each.subscription_id: describe_endpoint(each, version=0, deleted=False) for each in subscriptions}
    # an endpoint has the version that was current when it was published
    found = {name: replace(endpoint, version=0) for name, endpoint in logged.items()}
    yield from _compare(application_id, "endpoint", wanted, found)


async def _compare_parts(
    pool: Pool, state: ApplicationState, subscriptions: Sequence[Subscription], routes: RoutesView
) -> list[Difference]:
    application_id = state.application_id
    types = {each.name: None for each in await list_event_types(pool, application_id)}
    logged_types = dict.fromkeys(routes.list_event_types(application_id))
    secrets = {each.token_hash.hex()[:SECRET_SHOWN_CHARS]: None for each in await list_secrets(pool, application_id)}
    logged_secrets = {each[:SECRET_SHOWN_CHARS]: None for each in routes.list_secrets(application_id)}
    rules = {
        each.subscription_id: (each.content.event_types, each.content.labels, each.content.payload_filter)
        for each in subscriptions
        if each.content.is_enabled
    }
    logged_rules = {
        each.name: (each.event_types, dict(each.labels), each.payload_filter)
        for each in routes.list_rules(application_id)
    }
    return [
        *_compare(application_id, "event_type", types, logged_types),
        *_compare(application_id, "secret", secrets, logged_secrets),
        *_compare(application_id, "subscription", rules, logged_rules),
    ]


def _compare(
    application_id: str, what: str, in_database: Mapping[str, object], in_log: Mapping[str, object]
) -> Iterator[Difference]:
    for name in sorted(in_database.keys() | in_log.keys()):
        if name not in in_log:
            problem = "not in the log"
        elif name not in in_database:
            problem = "only in the log"
        elif in_database[name] != in_log[name]:
            problem = "the log has another one"
        else:
            continue
        yield Difference(application_id=application_id, what=what, name=name, problem=problem)
