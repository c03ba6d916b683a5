"""A target URL is shown as it was given and sent as the URL standard reads it: it belongs to its owner."""

import pytest

from tests.support.api import describe_subscription
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
TARGETS = {
    "/a?a=%2F&sig=x%3D%3D": "/a?a=%2F&sig=x%3D%3D",
    "/a%2Fb;c=1?k=[1]&m={z}|+%20": "/a%2Fb;c=1?k=[1]&m={z}|+%20",
    "/%7e/%": "/%7e/%",
    "": "/",
    "?q#fragment": "/?q",
    "/ü?é": "/%C3%BC?%C3%A9",
    "/" + "é" * 300: "/" + "%C3%A9" * 300,
}


@pytest.mark.parametrize("given", TARGETS, ids=lambda given: ascii(given)[:40])
async def test_a_target_is_kept_and_sent_as_it_is(stack: Stack, given: str) -> None:
    """A target that was shown may be sent back: the limit is on the given value."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}{given}"
        created = await stack.api.subscribe(space, url, TYPE)
        path = f"/subscriptions/{created['subscription_id']}"
        shown = (await stack.api.call("GET", path)).json["target"]["url"]
        body = describe_subscription(space.application_id, shown, TYPE)
        replaced = await stack.api.call("PUT", path, body)
        await stack.api.send(space, TYPE)
        (request,) = await eventually(lambda: receiver.requests())

        assert url == created["target"]["url"] == shown
        assert (200, url) == (replaced.status, replaced.json["target"]["url"])
        assert TARGETS[given] == request.target
