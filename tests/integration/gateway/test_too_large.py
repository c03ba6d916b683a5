"""Events that the log does not take, whatever the gateway's own limit says."""

import os

from tests.support.kafka import alter_topic
from tests.support.stack import run_stack

TYPE = "billing.invoice.paid"


async def test_an_event_that_the_log_does_not_take_is_refused_for_good(
    kafka: str, postgres: str, migrated_template: str
) -> None:
    """413, not a 503 that asks for it again; in a batch it alone is refused; small ones are accepted as before."""
    async with run_stack(kafka, postgres, migrated_template, "gateway") as stack:
        space = await stack.api.make_space(TYPE)
        await alter_topic(kafka, stack.topics.events, "max.message.bytes", "20000")

        def describe(payload: str) -> dict[str, object]:
            return {
                "event_type": TYPE,
                "payload": payload,
                "payload_content_type": "text/plain",
                "occurred_at": "2026-01-02T03:04:05Z",
                "labels": {"a": "b"},
            }

        large, small = describe(os.urandom(40_000).hex()), describe("small")
        one = {"application_id": space.application_id}
        refused = await stack.api.call("POST", "/event", large | one, token=space.secret)
        accepted = await stack.api.call("POST", "/event", small | one, token=space.secret)
        batch = await stack.api.call("POST", "/events", one | {"events": [small, large, small]}, token=space.secret)

    assert (413, 201, 200) == (refused.status, accepted.status, batch.status)
    assert [201, 413, 201] == [result["status"] for result in batch.json["results"]]
