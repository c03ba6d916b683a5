"""Matcher and deliver die at the same moment: what was answered and recorded is not sent again."""

from collections import Counter

from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import run_stack

TYPE = "billing.invoice.paid"
EVENTS = 40


async def test_what_was_recorded_is_not_sent_again(kafka: str, postgres: str, migrated_template: str) -> None:
    """The matcher never committed, so that it matches every event again; deliver knows them by their attempts."""
    settings = {"MATCHER_COMMIT_INTERVAL_S": "60", "WORKER_COMMIT_INTERVAL_S": "0.1", "KAFKA_SESSION_TIMEOUT_S": "6"}
    names = ("gateway", "matcher", "deliver", "archive")
    async with run_stack(kafka, postgres, migrated_template, *names, **settings) as stack, Receiver() as receiver:
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        sent = [await stack.api.send(space, TYPE) for _ in range(EVENTS)]

        async def all_recorded() -> bool:
            for event_id in sent:
                attempts = await stack.api.list_attempts(space, event_id)
                assert ["successful"] == [attempt["status"]["type"] for attempt in attempts]
            return True

        await eventually(all_recorded, timeout_s=60)
        (matcher,), (deliver,) = stack.processes["matcher"], stack.processes["deliver"]
        await matcher.kill()
        await deliver.kill()
        await matcher.start()
        await deliver.start()
        # behind what was matched again in the log
        last = await stack.api.send(space, TYPE)
        await eventually(
            lambda: last in {request.header("X-Event-Id") for request in receiver.requests()}, timeout_s=60
        )
        arrived = Counter(request.header("X-Event-Id") for request in receiver.requests())

    assert dict.fromkeys([*sent, last], 1) == dict(arrived)
