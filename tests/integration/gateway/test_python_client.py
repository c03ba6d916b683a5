"""The typed client, against a real gateway and against what is none."""

import pytest
from aiohttp import web

from pipeline.client import AddressError, Client, ProblemError, UnreachableError
from pipeline.client.models import SubscriptionForm
from tests.support.stack import MASTER_KEY, Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

OCCURRED_AT = "2026-01-02T03:04:05Z"


async def test_from_an_organization_to_its_events(stack: Stack) -> None:
    """Answers of one method are arguments of the next; pages lead on; a change of an old version is refused."""
    async with Client(stack.api.url + "/", MASTER_KEY) as client:
        organization = (await client.post_organizations({"name": "Client"})).body
        application = (
            await client.post_applications({"organization_id": organization["organization_id"], "name": "Shop"})
        ).body
        application_id = application["application_id"]
        for verb in ("paid", "sent"):
            await client.post_event_types(
                {"application_id": application_id, "service": "shop", "resource_type": "order", "verb": verb}
            )
        form: SubscriptionForm = {
            "application_id": application_id,
            "is_enabled": False,
            "event_types": ["shop.order.paid"],
            "labels": {"a": "b/c?d&e"},
            "target": {"type": "http", "method": "POST", "url": "http://example.com/", "headers": {}},
        }
        made = (await client.post_subscriptions(form)).body
        found = await client.get_subscription(made["subscription_id"])
        changed = await client.put_subscription(made["subscription_id"], form, if_match=found.etag)
        with pytest.raises(ProblemError) as late:
            await client.put_subscription(made["subscription_id"], form, if_match=found.etag)
        accepted = await client.post_event(
            {
                "application_id": application_id,
                "event_type": "shop.order.paid",
                "payload": "{}",
                "payload_content_type": "application/json",
                "occurred_at": OCCURRED_AT,
                "labels": {"a": "b/c?d&e"},
            }
        )
        events = await client.list_events(application_id=application_id, labels="a=b/c?d&e")
        payload = await client.get_event_payload(accepted.body["event_id"], application_id=application_id)
        first = await client.list_event_types(application_id=application_id, limit=1)
        assert first.next_page is not None
        second = await client.list_event_types(application_id=application_id, limit=1, after=first.next_page["after"])
        gone = await client.delete_application(application_id)

    assert {"a": "b/c?d&e"} == changed.body["labels"]
    assert (412, "PreconditionFailed", None) == (late.value.status, late.value.id, late.value.validation)
    assert [accepted.body["event_id"]] == [each["event_id"] for each in events.body]
    assert {} == payload.body
    assert ["shop.order.paid", "shop.order.sent"] == [
        each["event_type_name"] for page in (first, second) for each in page.body
    ]
    assert (204, b"") == (gone.status, gone.body)


async def test_problems_are_told_apart(stack: Stack) -> None:
    """Problems have ids, and name the fields that are wrong."""
    async with Client(stack.api.url, "no-token") as client:
        with pytest.raises(ProblemError, match="403 AuthInvalidBiscuit") as refused:
            await client.list_organizations()
    async with Client(stack.api.url, MASTER_KEY) as client:
        with pytest.raises(ProblemError) as short:
            await client.post_organizations({"name": "x"})
        with pytest.raises(ProblemError) as odd:
            await client.get_application("../errors")

    assert "AuthInvalidBiscuit" == refused.value.id
    assert short.value.validation is not None
    assert ["length"] == [each["code"] for each in short.value.validation["name"]]
    assert (404, "NotFound") == (odd.value.status, odd.value.id)


@pytest.mark.parametrize("body", ["<html>", "{", '{"no": "problem"}', "[]"])
async def test_what_is_no_api(body: str) -> None:
    """Another server's answers are no answers, whatever their status and form."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(text=body, status=502, content_type="application/json" if body != "<html>" else "text/html")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with Client(f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1", "x") as client:
        with pytest.raises(UnreachableError, match="502"):
            await client.list_organizations()
    await runner.cleanup()


async def test_nobody_there() -> None:
    """An address that is none is told apart from one where nothing listens."""
    async with Client("http://127.0.0.1:1/api/v1", "x") as client:
        with pytest.raises(UnreachableError, match=r"GET http://127.0.0.1:1/api/v1/organizations was not answered"):
            await client.list_organizations()
    async with Client("nonsense", "x") as client:
        with pytest.raises(AddressError, match="'nonsense' is no address"):
            await client.list_organizations()
