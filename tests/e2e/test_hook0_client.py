"""Clients written for Hook0 work unmodified: the PyPI package sends, configures, reads and verifies."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import hook0
import pytest
import pytest_asyncio
from hook0.generated import aio, models

from tests.support.eventually import eventually
from tests.support.payloads import real_payloads
from tests.support.receiver import Hang, Receiver
from tests.support.stack import MASTER_KEY, Stack, run_stack
from tests.support.verification import verify_delivery

pytestmark = pytest.mark.asyncio(loop_scope="module")

# one real type has a dash, which Hook0's clients do not send
PAYLOADS = [payload for payload in real_payloads() if "-" not in payload.event_type]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(kafka: str, postgres: str, migrated_template: str) -> AsyncIterator[Stack]:
    names = ("gateway", "matcher", "deliver", "archive")
    async with run_stack(kafka, postgres, migrated_template, *names) as running:
        yield running


async def test_real_payloads_arrive_byte_for_byte(stack: Stack) -> None:
    """Every real payload, sent with the client, arrives whole and genuine by the clients' own verification."""
    space = await stack.api.make_space()
    client = hook0.Hook0AsyncClient(stack.api.url, space.application_id, space.secret)
    event_types = sorted({payload.event_type for payload in PAYLOADS})
    created = await client.upsert_event_types(event_types)
    again = await client.upsert_event_types(event_types)
    async with Receiver() as receiver:
        secrets = {}
        for start in range(0, len(event_types), 100):
            path = f"/{start}"
            made = await stack.api.subscribe(space, receiver.url(path), *event_types[start : start + 100])
            secrets[path] = made["secret"]
        sent = {}
        for payload in PAYLOADS:
            event = hook0.Event(
                event_type=payload.event_type,
                payload=payload.payload,
                payload_content_type="application/json",
                labels={"all": "yes"},
            )
            sent[await client.send_event(event)] = payload
        await eventually(lambda: len(receiver.requests()) >= len(sent), timeout_s=60)
        arrived = {request.header("X-Event-Id"): request for request in receiver.requests()}

        assert (len(event_types), []) == (len(created), again)
        assert len(PAYLOADS) == len(sent) == len(receiver.requests())
        assert sent.keys() == arrived.keys()
        for event_id, request in arrived.items():
            assert sent[event_id].payload.encode() == request.body
            assert sent[event_id].event_type == request.header("X-Event-Type")
            assert ("hook0", "standardwebhooks", "svix") == verify_delivery(request, secrets[request.path])


async def test_a_repeated_event_is_a_conflict(stack: Stack) -> None:
    """The client tells an id that was used before from everything else that can go wrong."""
    space = await stack.api.make_space("billing.invoice.paid")
    client = hook0.Hook0AsyncClient(stack.api.url, space.application_id, space.secret)
    event = hook0.Event(
        event_type="billing.invoice.paid",
        payload="{}",
        payload_content_type="application/json",
        labels={"all": "yes"},
        event_id=hook0.generate_event_id(),
    )

    assert event.event_id == await client.send_event(event)
    with pytest.raises(hook0.Hook0ClientError, match="EventAlreadyIngested"):
        await client.send_event(event)


async def test_a_service_token_through_the_generated_client(stack: Stack) -> None:
    """The client's five operations work, and what it does with the token is done within its organization."""
    organization = await stack.api.call("POST", "/organizations", {"name": "Acme"})
    organization_id = organization.json["organization_id"]
    tokens = aio.ServiceTokenAsyncApi(hook0.AsyncHttpTransport(stack.api.url, MASTER_KEY))
    post = models.ServiceTokenPost(name="ci", organization_id=UUID(organization_id))
    token = await tokens.create(post)
    transport = hook0.AsyncHttpTransport(stack.api.url, token.biscuit)
    application = await aio.ApplicationsAsyncApi(transport).create(
        models.ApplicationPost(name="Shop", organization_id=UUID(organization_id))
    )

    assert token == await tokens.edit(str(token.token_id), post)
    assert token == await tokens.get(str(token.token_id), organization_id)
    assert [token] == await tokens.list(organization_id)
    assert [application] == await aio.ApplicationsAsyncApi(transport).list(organization_id)
    await tokens.delete(str(token.token_id), organization_id)
    assert [] == await tokens.list(organization_id)


async def test_the_generated_client_reads_and_writes_everything(stack: Stack) -> None:
    """The client's decoders find every member they demand: an application's whole life through the generated half."""
    transport = hook0.AsyncHttpTransport(stack.api.url, MASTER_KEY)
    organization = await stack.api.call("POST", "/organizations", {"name": "Acme"})
    organization_id = UUID(organization.json["organization_id"])
    applications = aio.ApplicationsAsyncApi(transport)
    made = await applications.create(models.ApplicationPost(name="Shop", organization_id=organization_id))
    application_id = made.application_id
    text = str(application_id)
    secret = await aio.ApplicationSecretsAsyncApi(transport).create(
        models.ApplicationSecretPost(application_id=application_id, name="generated")
    )
    event_types = aio.EventTypesAsyncApi(transport)
    event_type = await event_types.create(
        models.EventTypePost(application_id=application_id, service="billing", resource_type="invoice", verb="paid")
    )
    subscriptions, events = aio.SubscriptionsAsyncApi(transport), aio.EventsAsyncApi(transport)
    attempts, responses = aio.RequestAttemptsAsyncApi(transport), aio.ResponseAsyncApi(transport)
    async with Receiver() as receiver:
        subscription_post = models.SubscriptionPost(
            application_id=application_id,
            event_types=[event_type.event_type_name],
            is_enabled=True,
            labels={"all": "yes"},
            target=models.SubscriptionPostTarget(headers={}, method="POST", type_="http", url=receiver.url("/a")),
        )
        subscription = await subscriptions.create(subscription_post)
        ingested = await events.ingest(
            models.EventPost(
                application_id=application_id,
                event_type="billing.invoice.paid",
                labels={"all": "yes"},
                occurred_at=datetime(2026, 1, 2, tzinfo=UTC),
                payload='{"n":1}',
                payload_content_type="application/json",
            )
        )

        async def find_made() -> list[models.RequestAttempt]:
            found: list[models.RequestAttempt] = await attempts.read(text, event_id=str(ingested.event_id))
            assert ["successful"] == [attempt.status.type_ for attempt in found]
            return found

        (attempt,) = await eventually(find_made)
        shown = await events.get(str(ingested.event_id), text)
        response = await responses.get(str(attempt.response_id), text)
        replaced = await subscriptions.update(str(subscription.subscription_id), subscription_post)

        assert [text] == [str(found.application_id) for found in await applications.list(str(organization_id))]
        assert "Done" == (await applications.get(text)).onboarding_steps.event
        assert secret.token in [found.token for found in await aio.ApplicationSecretsAsyncApi(transport).read(text)]
        assert [event_type] == await event_types.list(text)
        assert event_type == await event_types.get(event_type.event_type_name, text)
        assert [replaced] == await subscriptions.list(text)
        assert subscription.secret == (await subscriptions.get(str(subscription.subscription_id))).secret
        assert [ingested.event_id] == [found.event_id for found in await events.list(text)]
        assert [1] == [day.amount for day in await aio.EventsPerDayAsyncApi(transport).list_for_application(text)]
        of_organization = await aio.EventsPerDayAsyncApi(transport).list_for_organization(str(organization_id))
        assert [application_id] == [day.application_id for day in of_organization]
        assert b'{"n":1}' == base64.b64decode(shown.payload)
        assert attempt == await attempts.get(str(attempt.request_attempt_id), text)
        assert (200, "ok") == (response.http_code, response.body)
        assert 46 == len(await aio.ErrorsAsyncApi(transport).list())
        assert 3 == len(await aio.PayloadContentTypesAsyncApi(transport).list())
        assert not (await aio.QuotasAsyncApi(transport).get()).enabled
        assert not (await aio.InstanceAsyncApi(transport).get()).quota_enforcement
        again = models.ApplicationSecretPost(application_id=application_id, name="renamed")
        secrets = aio.ApplicationSecretsAsyncApi(transport)
        changed = await secrets.update(str(secret.token), again)
        assert ("renamed", secret.token) == (changed.name, changed.token)
        renamed = models.ApplicationPost(name="Shop 2", organization_id=organization_id)
        assert "Shop 2" == (await applications.update(text, renamed)).name
        await events.replay(str(ingested.event_id), models.ReplayEvent(application_id=application_id))
        await eventually(lambda: len(receiver.requests()) == 2)
        assert 1 == len({request.header("webhook-id") for request in receiver.requests()})
        await subscriptions.delete(str(subscription.subscription_id), text)
        spare = await secrets.create(again)
        await secrets.delete(str(spare.token), text)
        assert spare.token not in [found.token for found in await secrets.read(text)]
        await event_types.delete(event_type.event_type_name, text)
        await applications.delete(text)
        with pytest.raises(hook0.Hook0ClientError):
            await hook0.Hook0AsyncClient(stack.api.url, text, str(secret.token)).send_event(
                hook0.Event(
                    event_type="billing.invoice.paid",
                    payload="{}",
                    payload_content_type="application/json",
                    labels={"all": "yes"},
                )
            )


async def test_an_open_request_is_read_as_in_progress(stack: Stack) -> None:
    """Hook0's clients know the name `in_progress`, and cannot decode another one."""
    space = await stack.api.make_space("billing.invoice.paid")
    attempts = aio.RequestAttemptsAsyncApi(hook0.AsyncHttpTransport(stack.api.url, space.secret))
    async with Receiver() as receiver:
        receiver.script("/slow", Hang())
        await stack.api.subscribe(
            space, receiver.url("/slow"), "billing.invoice.paid", delivery={"total_timeout_s": 60}
        )
        event_id = await stack.api.send(space, "billing.invoice.paid")

        async def find_open() -> models.RequestAttempt:
            listed: list[models.RequestAttempt] = await attempts.read(space.application_id, event_id=event_id)
            assert [models.RequestAttemptStatusType.IN_PROGRESS] == [each.status.type_ for each in listed]
            return listed[0]

        found = await eventually(find_open)

    assert (found.picked_at, None, None) == (found.status.since, found.failed_at, found.succeeded_at)
