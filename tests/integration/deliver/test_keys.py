"""Sealing keys while they change: only endpoints that need a missing key wait, and they go on when it comes."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from uuid import uuid4

from pipeline.core.events.records import Delivery
from tests.integration.deliver.deliver_site import KEYS, NEW_KEYS, DeliverSite, ids_of
from tests.support.eventually import eventually
from tests.support.kafka import report
from tests.support.receiver import Receiver, Slow
from tests.support.single_process import SingleProcess

LOAD = 20  # deliveries of a round, to each endpoint


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
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        old = site.subscribe(receiver.url("/old"))
        new = site.subscribe(receiver.url("/new"), keys=NEW_KEYS)
        deliver = site.deliver()
        await deliver.start()
        waiting, sent = site.send(new, count=10), site.send(old, count=30)
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
            attempts = await site.attempts(40)

        assert {"sealing_keys"} & problems.keys() == set()
        assert ids_of([*sent, *waiting]) == ids_of(attempts)
        assert {("succeeded", 1)} == {(attempt.outcome, attempt.attempt_number) for attempt in attempts}


async def test_keys_rotate_in_two_phases_under_load(kafka: str, topic_prefix: str) -> None:
    """Three processes, restarted one by one to know the new key; then endpoints are sealed with it.

    Nothing is lost, and the other tenants do not wait: what they get is not behind the load of the one whose key
    changes, no more than before. While processes are restarted partitions move, which takes its time.
    """
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        receiver.script("/load*", Slow(100))
        subscribers = [site.subscribe(receiver.url(f"/load/{number}"), concurrency_max=4) for number in range(8)]
        others = [site.subscribe(receiver.url(f"/other/{number}"), application_id=str(uuid4())) for number in range(4)]
        processes = [site.deliver(KAFKA_SESSION_TIMEOUT_S="6") for _ in range(3)]
        await asyncio.gather(*(process.start() for process in processes))
        sent: list[Delivery] = []

        async def send_round() -> Delay:
            """The rotating tenant's load, and behind it one delivery to each of the others; how long these took."""

            def are_all_received() -> bool:
                received = {request.header("webhook-id") for request in receiver.requests()}
                return received == {*ids_of(sent), *sent_ids}

            await eventually(are_all_received, timeout_s=60)
            before, begun_s = len(receiver.requests()), time.monotonic()
            sent.extend(delivery for each in subscribers for delivery in site.send(each, count=LOAD))
            waiting = {delivery.delivery_id for each in others for delivery in site.send(each)}
            sent_ids.update(waiting)

            def arrived() -> dict[str, tuple[int, float]]:
                found = {
                    request.header("webhook-id"): (place - before, request.arrived_monotonic_s - begun_s)
                    for place, request in enumerate(receiver.requests(), 1)
                    if request.header("webhook-id") in waiting
                }
                return found if found.keys() == waiting else {}

            places = await eventually(arrived, timeout_s=60)
            return Delay(max(place for place, _ in places.values()), max(seconds for _, seconds in places.values()))

        sent_ids: set[str] = set()
        delays: dict[str, list[Delay]] = {
            "before": [await send_round() for _ in range(2)],
            "spreading": [],
            "using": [],
        }
        for process in processes:  # phase one: spread the key
            stopping = asyncio.create_task(process.stop())
            delays["spreading"].append(await send_round())
            await stopping
            process.set("SEALING_KEYS", f"{KEYS} {NEW_KEYS}")
            await process.start()
        for version, each in enumerate(subscribers, 2):  # phase two: use it
            url, subscription_id = each.url, each.subscription_id
            site.subscribe(url, subscription_id=subscription_id, version=version, keys=NEW_KEYS, concurrency_max=4)
            if version % 3:
                continue
            delays["using"].append(await send_round())
        attempts = await site.attempts(len(sent) + len(sent_ids), timeout_s=120)
        logs = "".join(process.log() for process in processes)
        await asyncio.gather(*(process.stop() for process in processes))
    for phase, measured in delays.items():
        behind, seconds = max(each.behind for each in measured), [round(each.seconds, 3) for each in measured]
        report(f"{phase}: at most {behind} requests before the last of the other tenants'; seconds {seconds}")

    assert sorted([*ids_of(sent), *sent_ids]) == ids_of(attempts)
    assert {("succeeded", 1)} == {(attempt.outcome, attempt.attempt_number) for attempt in attempts}
    assert "sealing_keys_missing" not in logs
    # half of the load, of which a fifth is under way at a time
    assert all(each.behind <= LOAD * len(subscribers) / 2 for name in ("before", "using") for each in delays[name])


@dataclass(frozen=True, slots=True)
class Delay:
    """Delay of the last of several deliveries: which request since it was sent it was, and seconds."""

    behind: int
    seconds: float
