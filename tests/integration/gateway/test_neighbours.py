"""An organization that sends more than Kafka takes has its own events refused, and not those of others."""

import asyncio
from collections import Counter

from tests.support.api import Space, describe_event
from tests.support.eventually import eventually
from tests.support.kafka_proxy import KafkaProxy
from tests.support.stack import Stack, run_stack

TYPE = "billing.invoice.paid"
IN_FLIGHT_MAX = 20
FLOOD = 40


async def send(stack: Stack, space: Space) -> int:
    body = describe_event(space.application_id, TYPE)
    return (await stack.api.call("POST", "/event", body, token=space.secret)).status


async def test_a_slow_kafka_is_shared(kafka: str, postgres: str, migrated_template: str) -> None:
    """One organization has half of what may wait for a slow Kafka at most: another one's event is accepted."""
    settings = {"GATEWAY_IN_FLIGHT_MAX": str(IN_FLIGHT_MAX), "KAFKA_PRODUCE_TIMEOUT_S": "60"}
    async with (
        KafkaProxy(kafka) as proxy,
        run_stack(proxy.address, postgres, migrated_template, "gateway", **settings) as stack,
    ):
        flooding, other = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
        proxy.hold()
        flood = [asyncio.create_task(send(stack, flooding)) for _ in range(FLOOD)]
        await eventually(lambda: sum(task.done() for task in flood) >= FLOOD - IN_FLIGHT_MAX)
        event = asyncio.create_task(send(stack, other))
        # its answer is there as soon as one that was refused would be
        assert 503 == await send(stack, flooding)
        is_refused = event.done()
        proxy.let_go()
        answers = Counter(await asyncio.gather(*flood))

        assert not is_refused
        assert 201 == await event
        assert {201: IN_FLIGHT_MAX // 2, 503: FLOOD - IN_FLIGHT_MAX // 2} == answers
