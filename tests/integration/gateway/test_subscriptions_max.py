"""How many subscriptions an application may have: what bounds the fan-out of its events."""

import asyncio
from collections import Counter

import psycopg

from tests.support.api import describe_subscription
from tests.support.stack import Stack, run_stack

TYPE = "billing.invoice.paid"
URL = "http://example.com/"


def read_version(stack: Stack, application_id: str) -> int:
    with psycopg.connect(stack.database_url) as connection:
        query = "select routes_version from applications where application_id = %s"
        (version,) = connection.execute(query, (application_id,)).fetchone() or (0,)
        return int(version)


async def test_an_application_has_no_more_than_it_may(kafka: str, postgres: str, migrated_template: str) -> None:
    """The limit holds however many are asked for at once, of any gateway. A refusal names it and changes nothing;
    deleting makes room, and other applications do not count.
    """
    names = ("gateway", "gateway")
    async with run_stack(kafka, postgres, migrated_template, *names, GATEWAY_SUBSCRIPTIONS_MAX="3") as stack:
        space, other = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
        body = describe_subscription(space.application_id, URL, TYPE)
        version = read_version(stack, space.application_id)
        replies = await asyncio.gather(
            *(stack.apis[number % 2].call("POST", "/subscriptions", body, token=space.secret) for number in range(8))
        )
        raised = read_version(stack, space.application_id) - version
        made = [reply.json["subscription_id"] for reply in replies if reply.status == 201]
        refused = await stack.api.call("POST", "/subscriptions", body | {"is_enabled": False}, token=space.secret)
        deleted = f"/subscriptions/{made[0]}?application_id={space.application_id}"
        await stack.api.call("DELETE", deleted, token=space.secret)
        again = await stack.api.call("POST", "/subscriptions", body, token=space.secret)
        await stack.api.subscribe(other, URL, TYPE)
        quotas = await stack.api.call("GET", "/quotas")

    assert {201: 3, 429: 5} == Counter(reply.status for reply in replies)
    assert 3 == raised, "what was refused is not published"
    assert (429, "TooManySubscriptionsPerApplication") == refused.problem
    assert "An application may have 3 subscriptions." == refused.json["detail"]
    assert 201 == again.status
    assert 3 == quotas.json["limits"]["global_subscriptions_per_application_limit"]
