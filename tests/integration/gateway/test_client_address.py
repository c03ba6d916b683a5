"""The address an event is stored with, when it came through a proxy."""

from uuid import uuid4

from tests.support.api import describe_event
from tests.support.stack import run_stack

TYPE = "billing.invoice.paid"
THROUGH_PROXY = {"X-Forwarded-For": "6.6.6.6, 192.0.2.60, 10.0.0.2", "Forwarded": "for=6.6.6.6"}


async def test_events_are_stored_with_the_clients_address(kafka: str, postgres: str, migrated_template: str) -> None:
    """One event or a batch: the right-most address that is not a trusted proxy's; the other header says nothing."""
    names = ("gateway", "archive")
    trusted = "127.0.0.0/8 10.0.0.0/8"
    async with run_stack(kafka, postgres, migrated_template, *names, GATEWAY_TRUSTED_PROXIES=trusted) as stack:
        space = await stack.api.make_space(TYPE)
        token = {"Authorization": f"Bearer {space.secret}", "Content-Type": "application/json"}
        single = describe_event(space.application_id, TYPE)
        in_batch = describe_event(space.application_id, TYPE)
        batch = {
            "application_id": space.application_id,
            "events": [{name: value for name, value in in_batch.items() if name != "application_id"}],
        }
        direct = describe_event(space.application_id, TYPE, event_id=str(uuid4()))
        replies = [
            await stack.api.call("POST", "/event", single, headers=token | THROUGH_PROXY),
            await stack.api.call("POST", "/events", batch, headers=token | THROUGH_PROXY),
            await stack.api.call("POST", "/event", direct, headers=token),
        ]
        stored = [
            (await stack.api.call("GET", f"/events/{event['event_id']}?application_id={space.application_id}")).json
            for event in (single, in_batch, direct)
        ]

    assert [201, 200, 201] == [reply.status for reply in replies]
    assert ["192.0.2.60", "192.0.2.60", "127.0.0.1"] == [event["ip"] for event in stored]
