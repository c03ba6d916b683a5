"""Sealing keys while they change: only endpoints that need a missing key wait, and they go on when it comes."""

import asyncio
import json
import urllib.error
import urllib.request

from tests.integration.deliver.house import KEYS, NEW_KEYS, House, ids_of
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.single_process import SingleProcess


async def read_health(process: SingleProcess) -> tuple[int, dict[str, str]]:
    """Status and problems of /health."""
    address = (await process.wait_ready())["metrics"].replace("/metrics", "/health")

    def get() -> tuple[int, dict[str, str]]:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - our own process
                return answer.status, json.load(answer)["problems"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["problems"]

    return await asyncio.to_thread(get)


async def test_a_missing_key_holds_up_its_endpoints_only(kafka: str, topic_prefix: str) -> None:
    """Keys used before they were spread: the endpoints with the new key wait, unsent; with it they go on."""
    house = await House(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        old = house.subscribe(receiver.url("/old"))
        new = house.subscribe(receiver.url("/new"), keys=NEW_KEYS)
        deliver = house.deliver()
        await deliver.start()
        waiting, sent = house.send(new, count=10), house.send(old, count=30)
        await eventually(lambda: len(receiver.requests("/old")) == len(sent))
        status, problems = await read_health(deliver)

        assert 503 == status
        assert "'new'" in problems["sealing_keys"]
        assert "sealing_keys_missing" in deliver.log()
        assert [] == receiver.requests("/new")
        await deliver.stop()

        deliver.set("SEALING_KEYS", f"{KEYS} {NEW_KEYS}")
        async with deliver:
            await eventually(lambda: len(receiver.requests("/new")) == len(waiting))
            status, problems = await read_health(deliver)
            attempts = await house.attempts(40)

        assert {"sealing_keys"} & problems.keys() == set()
        assert ids_of([*sent, *waiting]) == ids_of(attempts)
        assert {("succeeded", 1)} == {(attempt.outcome, attempt.attempt_number) for attempt in attempts}


async def test_keys_rotate_in_two_phases_under_load(kafka: str, topic_prefix: str) -> None:
    """Three processes, restarted one by one to know the new key; then endpoints are sealed with it. Nothing waits."""
    house = await House(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        subscribers = [house.subscribe(receiver.url(f"/{number}")) for number in range(8)]
        processes = [house.deliver() for _ in range(3)]
        await asyncio.gather(*(process.start() for process in processes))
        sent = []
        for process in processes:  # phase one: spread the key
            sent += [delivery for each in subscribers for delivery in house.send(each, count=5)]
            await process.stop()
            process.set("SEALING_KEYS", f"{KEYS} {NEW_KEYS}")
            await process.start()
        for version, each in enumerate(subscribers, 2):  # phase two: use it
            url, subscription_id = each.url, each.subscription_id
            house.subscribe(url, subscription_id=subscription_id, version=version, keys=NEW_KEYS)
            sent += [delivery for each in subscribers for delivery in house.send(each, count=5)]
        attempts = await house.attempts(len(sent), timeout_s=120)
        logs = "".join(process.log() for process in processes)
        await asyncio.gather(*(process.stop() for process in processes))

        assert ids_of(sent) == ids_of(attempts)
        assert {("succeeded", 1)} == {(attempt.outcome, attempt.attempt_number) for attempt in attempts}
        assert "sealing_keys_missing" not in logs
