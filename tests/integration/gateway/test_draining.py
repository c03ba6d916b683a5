"""A gateway behind a balancer: taken out before it closes, and not given requests that it could not serve."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pipeline.embedded.kafka import EmbeddedKafka
from tests.support.api import describe_event
from tests.support.eventually import eventually
from tests.support.single_process import SingleProcess
from tests.support.stack import Stack, run_stack

TYPE = "billing.invoice.paid"
DRAIN_S = "5"


async def test_requests_go_on_while_the_balancer_takes_it_out(
    kafka: str, postgres: str, migrated_template: str
) -> None:
    """SIGTERM fails readiness first; new connections and requests are served until the drain is over."""
    async with run_stack(kafka, postgres, migrated_template, "gateway", GATEWAY_DRAIN_S=DRAIN_S) as stack:
        (gateway,) = stack.processes["gateway"]
        space = await stack.api.make_space(TYPE)
        before = await ask_readiness(gateway)
        gateway.send_signal(signal.SIGTERM)
        await eventually(lambda: is_unready(gateway))
        replies = []
        for _ in range(20):
            async with (
                aiohttp.ClientSession() as newcomer,
                newcomer.post(
                    f"{stack.api.url}/event",
                    json=describe_event(space.application_id, TYPE),
                    headers={"Authorization": f"Bearer {space.secret}"},
                ) as reply,
            ):
                replies.append((reply.status, reply.headers.get("Connection")))
        live, _ = await ask(gateway, "/health/live")
        unready = await ask_readiness(gateway)
        code = await gateway.wait()
        log = gateway.log()

    assert (200, {"ready": True, "problems": {}}) == before
    assert (503, {"ready": False, "problems": {"process": "it is stopping"}}) == unready
    assert 200 == live
    # kept connections move to other gateways, not into the moment at which this one closes
    assert {(201, "close")} == set(replies)
    assert 0 == code
    assert log.index("draining") < log.index("stopped")


async def test_a_gateway_without_kafka_is_not_ready(tmp_path: Path, postgres: str, migrated_template: str) -> None:
    """A balancer gives the gateway's requests to another one, as it would answer 503; it is not restarted for it."""
    broker = await asyncio.to_thread(EmbeddedKafka.start, tmp_path)
    port = int(broker.bootstrap_servers.rpartition(":")[2])
    try:
        async with run_stack(broker.bootstrap_servers, postgres, migrated_template, "gateway") as stack:
            (gateway,) = stack.processes["gateway"]
            await eventually(lambda: is_ready(gateway))
            well = await stack.api.call("GET", "/health")
            await asyncio.to_thread(broker.stop)
            body = await eventually(lambda: find_kafka_away(gateway), timeout_s=60)
            live, _ = await ask(gateway, "/health/live")
            away = await stack.api.call("GET", "/health")
            broker = await asyncio.to_thread(EmbeddedKafka.start, tmp_path, port=port)
            await eventually(lambda: is_ready(gateway), timeout_s=90)

            assert ["kafka"] == list(body["problems"])
            assert 200 == live
            assert (200, True, True) == (well.status, well.json["kafka"], well.json["database"])
            assert (503, False, True) == (away.status, away.json["kafka"], away.json["database"])
    finally:
        await asyncio.to_thread(broker.stop)


@pytest.mark.asyncio(loop_scope="package")
async def test_the_api_tells_how_it_is(stack: Stack) -> None:
    """`GET /health` as Hook0 has it, without a token; what Hookline does not use is null."""
    reply = await stack.api.call("GET", "/health", headers={})

    assert 200 == reply.status
    assert {"database": True, "kafka": True, "pulsar": None, "object_storage": None} == {
        name: reply.json[name] for name in ("database", "kafka", "pulsar", "object_storage")
    }
    assert reply.json["total_duration_ms"] >= 0


async def test_health_can_be_kept_for_those_with_a_key(kafka: str, postgres: str, migrated_template: str) -> None:
    """The API shows health only with the key if `HOOKLINE_GATEWAY_HEALTH_KEY` is set."""
    async with run_stack(kafka, postgres, migrated_template, "gateway", GATEWAY_HEALTH_KEY="sesame") as stack:
        without = await stack.api.call("GET", "/health")
        wrong = await stack.api.call("GET", "/health?key=open")
        right = await stack.api.call("GET", "/health?key=sesame")

        assert ((403, "Forbidden"), (403, "Forbidden"), 200) == (without.problem, wrong.problem, right.status)


async def ask(process: SingleProcess, path: str) -> tuple[int, Any]:
    """Ask the process on its port for metrics."""
    address = (await process.wait_ready())["metrics"].removesuffix("/metrics")
    async with aiohttp.ClientSession() as session, session.get(address + path) as response:
        return response.status, await response.json()


async def ask_readiness(process: SingleProcess) -> tuple[int, Any]:
    return await ask(process, "/health/ready")


async def is_ready(process: SingleProcess) -> bool:
    return (await ask_readiness(process))[0] == 200


async def find_kafka_away(process: SingleProcess) -> Any:
    """The answer, once it names Kafka."""
    status, body = await ask_readiness(process)
    return body if status == 503 and "kafka" in body["problems"] else None


async def is_unready(process: SingleProcess) -> bool:
    return (await ask_readiness(process))[0] == 503
