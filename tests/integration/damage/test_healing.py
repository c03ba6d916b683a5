"""Routes that cannot be read are published again from the database."""

import json
import os
import subprocess
import sys

from pipeline.core.log.partition import locate_partition
from tests.integration.damage.conftest import OwnBroker
from tests.support.api import Api, describe_event
from tests.support.eventually import eventually
from tests.support.processes import ROOT, select_environ
from tests.support.receiver import Receiver
from tests.support.single_process import SingleProcess
from tests.support.stack import MASTER_KEY, PARTITIONS, Stack, run_stack

TYPE = "billing.invoice.paid"


def locate(key: str) -> int:
    """The partition of a key."""
    return locate_partition(key.encode(), PARTITIONS)


def diagnose(stack: Stack, *options: str) -> tuple[int, list[dict[str, str]]]:
    """`hookline doctor --json`: its exit code and what differs."""
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "doctor", "--json", *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=select_environ(os.environ) | stack.environ,
        timeout=120,
        check=False,
    )
    assert ran.stdout, ran.stderr
    return ran.returncode, json.loads(ran.stdout)["differences"]


async def test_a_gateway_publishes_again_what_it_cannot_read(
    broker: OwnBroker, postgres: str, migrated_template: str
) -> None:
    """A gateway starts degraded, says so, and a moment later takes events with the secret whose record is damaged."""
    async with run_stack(broker.servers, postgres, migrated_template, "gateway") as stack:
        spaces = [await stack.api.make_space(TYPE) for _ in range(3)]
        segment = broker.segment(stack.topics.routes, locate(spaces[1].application_id))
        # the record of the secret, and with it whatever else is in its batch
        secret_key = f"{spaces[1].application_id}/k/".encode()
        (bad,) = [batch for batch in segment.batches() if secret_key in segment.read(batch)]
        segment.flip(bad, -5)
        code, differences = diagnose(stack)
        async with SingleProcess("gateway", stack.environ) as second:
            address = (await second.wait_ready())["api"]
            async with Api(address, MASTER_KEY) as api:

                async def is_taken() -> bool:
                    body = describe_event(spaces[1].application_id, TYPE)
                    return (await api.call("POST", "/event", body, token=spaces[1].secret)).status == 201

                await eventually(is_taken, timeout_s=60)
            await eventually(lambda: diagnose(stack) == (0, []), timeout_s=120)
            log = second.log()

    assert 1 == code
    assert spaces[1].application_id in {difference["application_id"] for difference in differences}
    assert "records_unreadable" in log
    assert "log_and_database_disagree" in log


async def test_a_deliver_asks_for_what_it_cannot_read(broker: OwnBroker, postgres: str, migrated_template: str) -> None:
    """Deliver starts without the endpoint whose record is damaged; the gateway, which read none, publishes again."""
    async with (
        run_stack(broker.servers, postgres, migrated_template, "gateway", "matcher") as stack,
        Receiver() as receiver,
    ):
        space = await stack.api.make_space(TYPE)
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        segment = broker.segment(stack.topics.endpoints, locate(made["subscription_id"]))
        subscription_id = made["subscription_id"].encode()
        (bad,) = [batch for batch in segment.batches() if subscription_id in segment.read(batch)]
        segment.flip(bad, -5)
        async with SingleProcess("deliver", stack.environ) as deliver:
            await deliver.wait_ready()
            await stack.api.send(space, TYPE)
            await eventually(lambda: receiver.received == 1, timeout_s=30)
            log = deliver.log()
        await eventually(lambda: diagnose(stack) == (0, []), timeout_s=120)

    assert "records_unreadable" in log
    assert "republish_asked" in log


async def test_doctor_heals(broker: OwnBroker, postgres: str, migrated_template: str) -> None:
    """`--heal` publishes again what differs, without a gateway that would have found it."""
    async with run_stack(broker.servers, postgres, migrated_template, "gateway") as stack:
        space = await stack.api.make_space(TYPE)
        made = await stack.api.subscribe(space, "http://192.0.2.1/", TYPE)
        segment = broker.segment(stack.topics.endpoints, locate(made["subscription_id"]))
        subscription_id = made["subscription_id"].encode()
        (bad,) = [batch for batch in segment.batches() if subscription_id in segment.read(batch)]
        segment.flip(bad, -5)
        before, differences = diagnose(stack)
        healed = diagnose(stack, "--heal")
        after = diagnose(stack)

    assert (1, ["endpoint"]) == (before, [difference["what"] for difference in differences])
    assert (0, []) == healed
    assert (0, []) == after
