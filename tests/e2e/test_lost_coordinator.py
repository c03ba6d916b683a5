"""A cluster without the broker that coordinates groups: all other questions are answered."""

import asyncio
import re

import aiohttp
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.core.events.producer_record import name_topic
from tests.integration.gateway.health import read_health
from tests.support.eventually import eventually
from tests.support.kafka_proxy import KafkaProxy
from tests.support.stack import Stack, run_stack

PROCESSES = ("gateway", "matcher", "deliver", "archive")
GROUPS = {
    ("gateway", "group"): "gateway",
    ("gateway", "producers_group"): "gateway.producers",
    ("matcher", "group"): "matcher",
    ("deliver", "group"): "deliver",
    ("archive", "group"): "archive",
}
TYPE = "billing.invoice.paid"


async def read_problems(stack: Stack) -> dict[tuple[str, str], str]:
    """The problems of each process, by its name and theirs."""
    return {
        (name, problem): text
        for name, (process,) in stack.processes.items()
        for problem, text in (await read_health(process)).json["problems"].items()
    }


async def read_alarms(stack: Stack) -> set[tuple[str, str]]:
    """The checks that the metrics of each process say have a problem."""
    found = set()
    async with aiohttp.ClientSession() as session:
        for name, (process,) in stack.processes.items():
            async with session.get((await process.wait_ready())["metrics"]) as answer:
                page = await answer.text()
            found |= {(name, check) for check in re.findall(r'hookline_health_problem\{check="(\w+)"\} 1', page)}
    return found


async def test_every_process_says_that_its_groups_have_no_coordinator(
    kafka: str, postgres: str, migrated_template: str
) -> None:
    """The text names the group, and where to look; events are accepted meanwhile, and archived afterwards."""
    async with (
        KafkaProxy(kafka) as proxy,
        run_stack(
            proxy.address,
            postgres,
            migrated_template,
            *PROCESSES,
            KAFKA_SESSION_TIMEOUT_S="6",
            GATEWAY_PRODUCER_TOPICS="true",
        ) as stack,
    ):
        space = await stack.api.make_space(TYPE)
        admin = AdminClient({"bootstrap.servers": kafka}, logger=None)
        theirs = NewTopic(name_topic(stack.kafka.topic_prefix, space.application_id), 1, 1)
        await asyncio.to_thread(admin.create_topics([theirs])[theirs.topic].result, 30)
        gateway = stack.processes["gateway"][0]
        await eventually(lambda: "producer_topics_assigned" in gateway.log())

        async def are_well() -> bool:
            problems = await read_problems(stack)
            assert {} == problems
            return True

        async def is_said() -> bool:
            problems = await read_problems(stack)
            said = {key: text for key, text in problems.items() if "has not confirmed this process" in text}
            assert GROUPS.keys() == said.keys() == problems.keys(), problems
            assert all(f"the group {stack.kafka.topic_prefix}{GROUPS[key]} " in text for key, text in said.items())
            return True

        await eventually(are_well, timeout_s=60)
        proxy.lose_coordinator()
        await eventually(is_said, timeout_s=60)
        alarms = await read_alarms(stack)
        statuses = {name: (await read_health(process)).status for name, (process,) in stack.processes.items()}
        sent = await stack.api.send(space, TYPE)
        proxy.find_coordinator()
        await eventually(are_well, timeout_s=60)
        alarms_after = await read_alarms(stack)
        found = await stack.api.call("GET", f"/events/{sent}?application_id={space.application_id}", token=space.secret)

    assert {"gateway": 200, "matcher": 503, "deliver": 503, "archive": 503} == statuses
    assert 200 == found.status
    assert GROUPS.keys() == alarms
    assert set() == alarms_after
