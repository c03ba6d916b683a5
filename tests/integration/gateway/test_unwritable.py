"""A log that refuses the gateway's writes: found before a request meets it, reported, and over when the log is well."""

from pipeline.topics import Topic
from tests.integration.gateway.health import read_health
from tests.support.api import Space, describe_event, describe_type
from tests.support.eventually import eventually
from tests.support.kafka import alter_topic
from tests.support.stack import Stack, run_stack

TYPE = "billing.invoice.paid"
ALL_BYTES = str(4 * 1024 * 1024)
# the smallest record there is has more
NO_BYTES = "50"


async def read_problem(stack: Stack, check: str) -> str:
    (gateway,) = stack.processes["gateway"]
    return str((await read_health(gateway)).json["problems"].get(check, ""))


async def send(stack: Stack, space: Space) -> tuple[int, str]:
    reply = await stack.api.call("POST", "/event", describe_event(space.application_id, TYPE), token=space.secret)
    return reply.status, reply.text


async def test_a_gateway_knows_whether_it_can_write(kafka: str, postgres: str, migrated_template: str) -> None:
    """`events` and then `routes` take nothing: red or degraded without a request, with topic and reason; 503, not 413.

    Of changes nothing is saved meanwhile. Put back, all goes on by itself.
    """
    async with run_stack(kafka, postgres, migrated_template, "gateway", KAFKA_TOPICS_CHECK_INTERVAL_S="1") as stack:
        space = await stack.api.make_space(TYPE)
        (gateway,) = stack.processes["gateway"]
        seen = {}

        async def refuse(topic: Topic, check: str) -> None:
            await alter_topic(kafka, topic, "max.message.bytes", NO_BYTES)
            seen[check] = await eventually(lambda: read_problem(stack, check))

        async def take(topic: Topic, check: str) -> None:
            await alter_topic(kafka, topic, "max.message.bytes", ALL_BYTES)

            async def is_well() -> bool:
                return await read_problem(stack, check) == ""

            await eventually(is_well)

        await refuse(stack.topics.events, "writing")
        red = (await read_health(gateway)).status
        unsent = await send(stack, space)
        await take(stack.topics.events, "writing")
        sent = await send(stack, space)

        await refuse(stack.topics.routes, "publishing")
        degraded = (await read_health(gateway)).status
        created = describe_type(space.application_id, "billing.invoice.sent")
        unchanged = await stack.api.call("POST", "/event_types", created)
        accepted = await send(stack, space)
        listed = await stack.api.call("GET", "/event_types", query={"application_id": space.application_id})
        await take(stack.topics.routes, "publishing")
        changed = await stack.api.call("POST", "/event_types", created)

    for check, topic in (("writing", stack.topics.events), ("publishing", stack.topics.routes)):
        assert topic.name in seen[check]
        assert "MSG_SIZE_TOO_LARGE" in seen[check]
    assert (503, 503) == (red, unsent[0])
    assert "takes no events" in unsent[1]
    assert 201 == sent[0]
    assert (200, 201) == (degraded, accepted[0])
    assert (503, "ServiceUnavailable") == unchanged.problem
    assert "Nothing was changed" in unchanged.json["detail"]
    assert [TYPE] == [each["event_type_name"] for each in listed.json]
    assert 201 == changed.status
