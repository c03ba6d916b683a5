"""Every process is restarted under load, two gateways behind a real balancer: no failed request, no repeat."""

import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.api import Api
from tests.support.balancer import Balancer
from tests.support.free_ports import find_free_ports
from tests.support.receiver import ReceiverProcess
from tests.support.single_process import SingleProcess
from tests.support.stack import MASTER_KEY, run_stack
from tests.support.steady_load import SteadyLoad, count_repeats, measure_pauses

TYPE = "billing.invoice.paid"
RATE_PER_S = 50.0
BETWEEN_S = 3.0
APPLICATIONS = 8


async def test_a_rolling_restart_is_not_noticed(
    kafka: str, postgres: str, migrated_template: str, tmp_path: Path
) -> None:
    """Two of each process; one after the other is stopped by SIGTERM and started again."""
    settings = {"KAFKA_SESSION_TIMEOUT_S": "6", "GATEWAY_DRAIN_S": "2"}
    names = ("matcher", "matcher", "deliver", "deliver", "archive", "archive")
    ports = find_free_ports(2)
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
            await load.go_on(BETWEEN_S)
            for name in ("gateway", "matcher", "deliver", "archive"):
                for number, process in enumerate(every[name]):
                    change = load.begin(f"{name} {number}")
                    assert 0 == await process.stop()
                    await process.start()
                    change.ended_s = time.monotonic()
                    await balancer.wait_all_up()
                    await load.go_on(BETWEEN_S)

        requests = await load.wait_arrived(receiver)
        measure_pauses(load, requests, after_s=BETWEEN_S)
        answers = sorted(load.answers_ms)
        sys.stdout.write(
            f"{len(answers)} requests accepted, {len(load.failed)} failed, {count_repeats(requests)} repeats; answers "
            f"p50 {answers[len(answers) // 2]:.1f} ms, p99 {answers[len(answers) * 99 // 100]:.1f} ms, "
            f"longest {answers[-1]:.0f} ms\n"
        )
        await load.wait_accounted(stack)

    assert [] == load.failed
    assert 0 == count_repeats(requests)
