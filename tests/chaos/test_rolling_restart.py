"""Every process is restarted under load, two gateways behind a real balancer: no failed request, no repeat."""

import asyncio
import socket
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.api import Api
from tests.support.balancer import Balancer
from tests.support.eventually import eventually
from tests.support.ledger_command import run_ledger
from tests.support.receiver import ReceiverProcess
from tests.support.single_process import SingleProcess
from tests.support.stack import MASTER_KEY, run_stack
from tests.support.steady_load import SteadyLoad, count_repeats, find_first_arrivals, measure_pauses

TYPE = "billing.invoice.paid"
RATE_PER_S = 50.0
BETWEEN_S = 3.0
APPLICATIONS = 8


def find_ports(count: int) -> list[int]:
    """Ports that are free now: a gateway that is started again must have the one it had."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


async def test_a_rolling_restart_is_not_noticed(
    kafka: str, postgres: str, migrated_template: str, tmp_path: Path
) -> None:
    """Two of each process; one after the other is stopped by SIGTERM and started again."""
    settings = {"KAFKA_SESSION_TIMEOUT_S": "6", "GATEWAY_DRAIN_S": "2"}
    names = ("matcher", "matcher", "deliver", "deliver", "archive", "archive")
    ports = find_ports(2)
    async with AsyncExitStack() as running:
        receiver = await running.enter_async_context(ReceiverProcess(tmp_path / "journal.jsonl", "--digests-only"))
        stack = await running.enter_async_context(run_stack(kafka, postgres, migrated_template, *names, **settings))
        gateways = [
            await running.enter_async_context(
                SingleProcess("gateway", stack.environ | {"HOOKLINE_GATEWAY_PORT": str(port)})
            )
            for port in ports
        ]
        balancer = await running.enter_async_context(Balancer([f"127.0.0.1:{port}" for port in ports]))
        api = await running.enter_async_context(Api(balancer.url, MASTER_KEY))
        spaces = [await api.make_space(TYPE) for _ in range(APPLICATIONS)]
        for space in spaces:
            await api.subscribe(space, receiver.url("/a"), TYPE)
        every = {**stack.processes, "gateway": gateways}
        await balancer.wait_all_up()
        async with SteadyLoad(balancer.url, spaces, TYPE, RATE_PER_S) as load:
            await asyncio.sleep(BETWEEN_S)
            for name in ("gateway", "matcher", "deliver", "archive"):
                for number, process in enumerate(every[name]):
                    change = load.begin(f"{name} {number}")
                    assert 0 == await process.stop()
                    await process.start()
                    change.ended_s = time.monotonic()
                    await balancer.wait_all_up()
                    await asyncio.sleep(BETWEEN_S)

        def all_arrived() -> bool:
            missing = load.accepted.keys() - find_first_arrivals(receiver.requests()).keys()
            assert not missing, f"{len(missing)} of {len(load.accepted)} events have not arrived"
            return True

        await eventually(all_arrived, timeout_s=60)
        requests = receiver.requests()
        for pause in measure_pauses(load, requests, after_s=BETWEEN_S):
            sys.stdout.write(f"{pause}\n")
        answers = sorted(load.answers_ms)
        sys.stdout.write(
            f"{len(answers)} requests accepted, {len(load.failed)} failed, {count_repeats(requests)} repeats; answers "
            f"p50 {answers[len(answers) // 2]:.1f} ms, p99 {answers[len(answers) * 99 // 100]:.1f} ms, "
            f"longest {answers[-1]:.0f} ms\n"
        )

        async def adds_up() -> bool:
            code, books = await run_ledger(stack)
            assert 0 == code, books
            assert {len(load.accepted)} == {books["total"]["events"], books["total"]["delivered"]}
            return True

        await eventually(adds_up, timeout_s=60)

    assert [] == load.failed
    assert 0 == count_repeats(requests)
