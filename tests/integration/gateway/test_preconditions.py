"""Two people change one subscription: the second one hears of it."""

import pytest

from tests.support.api import describe_subscription
from tests.support.stack import MASTER_KEY, Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"


async def test_what_was_changed_meanwhile_is_not_replaced(stack: Stack) -> None:
    """With the `ETag` it has it is replaced, with an older one it stays (RFC 9110 §13.1.1)."""
    space = await stack.api.make_space(TYPE)
    made = await stack.api.subscribe(space, "http://example.com/", TYPE)
    path = f"/subscriptions/{made['subscription_id']}"
    tag = (await stack.api.call("GET", path)).headers["Etag"]

    async def replace(description: str, if_match: str | None) -> tuple[int, str | None]:
        headers = {"Authorization": f"Bearer {MASTER_KEY}", "Content-Type": "application/json"}
        body = describe_subscription(space.application_id, "http://example.com/", TYPE, description=description)
        reply = await stack.api.call(
            "PUT", path, body, headers=headers | ({"If-Match": if_match} if if_match is not None else {})
        )
        if reply.status == 412:
            assert (412, "PreconditionFailed") == reply.problem
        return reply.status, reply.headers.get("Etag")

    first = await replace("first", tag)
    second = await replace("second", tag)
    odd = await replace("odd", 'W/"1"')
    third = await replace("third", first[1])
    shown = await stack.api.call("GET", path)

    assert [200, 412, 412, 200] == [each[0] for each in (first, second, odd, third)]
    assert ("third", third[1]) == (shown.json["description"], shown.headers["Etag"])
    assert 200 == (await replace("any", "*"))[0] == (await replace("any", None))[0]
