"""Large payloads are in the log once: deliveries name the event, and nothing of what is promised changes."""

import asyncio
import base64
import os
import re
from pathlib import Path
from typing import Any

import aiohttp

from pipeline.kafka.damage.batch_reader import BatchReader
from tests.integration.deliver.deliver_site import DeliverSite
from tests.support.api import Space
from tests.support.eventually import eventually
from tests.support.kafka import delete_all_records
from tests.support.log import read_log
from tests.support.receiver import FailTimes, Receiver
from tests.support.single_process import SingleProcess
from tests.support.stack import Stack, run_stack

NAMES = ("gateway", "matcher", "deliver", "archive")
TYPE = "billing.invoice.paid"
SIZE = 500_000
SUBSCRIPTIONS = 100
LOG_MAX_BYTES = 1_200_000
GROWTH_MAX_MIB = 24  # a copy for each request would be 50 MB and more


def make_text(size: int) -> str:
    """A payload that does not compress."""
    return base64.b64encode(os.urandom(size * 3 // 4)).decode()


def measure_log(stack: Stack) -> int:
    """The bytes of all values in all topics but those of routes and endpoints."""
    topics = [topic for topic in stack.topics.all() if topic.retention_s is not None]
    return sum(
        len(message.value() or b"") for topic in topics for message in read_log(stack.kafka.bootstrap_servers, topic)
    )


def read_memory_mib(process: SingleProcess, name: str = "VmHWM") -> float:
    """Resident memory, at its highest since the last reset."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def reset_highest(process: SingleProcess) -> None:
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")


async def read_counts(process: SingleProcess) -> dict[str, int]:
    """Where deliver found payloads."""
    lines = (await read_metrics(process)).splitlines()
    found = [re.fullmatch(r'hookline_payloads_read_total\{source="(\w+)"\} (\d+)\.0', line) for line in lines]
    return {each[1]: int(each[2]) for each in found if each is not None}


async def read_metrics(process: SingleProcess) -> str:
    url = (await process.wait_ready())["metrics"]
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


async def test_one_event_for_a_hundred_subscriptions_is_in_the_log_once(
    kafka: str, postgres: str, migrated_template: str
) -> None:
    """500 KB for a hundred: 1.2 MB of log at most, read once, resident memory of deliver flat, bytes as accepted."""
    async with run_stack(kafka, postgres, migrated_template, *NAMES) as stack, Receiver() as receiver:
        space = await stack.api.make_space(TYPE)
        for number in range(SUBSCRIPTIONS):
            await stack.api.subscribe(space, receiver.url(f"/{number}"), TYPE)
        (deliver,) = stack.processes["deliver"]
        await send_and_wait(stack, space, receiver, "1", 100)
        before = await asyncio.to_thread(measure_log, stack)
        reset_highest(deliver)
        resident_mib = read_memory_mib(deliver, "VmRSS")
        text = make_text(SIZE)
        requests = await send_and_wait(stack, space, receiver, text, 2 * SUBSCRIPTIONS)

        assert {text.encode()} == {request.body for request in requests[SUBSCRIPTIONS:]}
        assert {f"/{number}" for number in range(SUBSCRIPTIONS)} == {
            request.target for request in requests[SUBSCRIPTIONS:]
        }
        log_bytes = await asyncio.to_thread(measure_log, stack) - before
        grown_mib = read_memory_mib(deliver) - resident_mib
        print(f"{log_bytes:,} bytes of log, {grown_mib:.1f} MiB more in deliver")  # noqa: T201 - quoted in the docs
        assert log_bytes <= LOG_MAX_BYTES
        assert grown_mib <= GROWTH_MAX_MIB
        counts = await read_counts(deliver)
        assert (1, 0) == (counts["log"], counts["archive"])


async def send_and_wait(stack: Stack, space: Space, receiver: Receiver, text: str, count: int) -> list[Any]:
    """Send one event; all requests once there are `count`."""
    event_id = await stack.api.send(space, TYPE, payload=text, payload_content_type="text/plain")

    async def find() -> list[Any]:
        requests = receiver.requests()
        assert count == len(requests)
        attempts = await stack.api.list_attempts(space, event_id)
        assert {"successful"} == {attempt["status"]["type"] for attempt in attempts}
        return requests

    return await eventually(find, timeout_s=90)


async def lose_event(stack: Stack, receiver: Receiver, text: str) -> tuple[Space, str]:
    """An event whose first attempt failed, and which the log drops before the next one. Deliver is killed then."""
    receiver.script("/", FailTimes(1, 503))
    space = await stack.api.make_space(TYPE)
    await stack.api.subscribe(space, receiver.url("/"), TYPE, delivery={"retry_delays_s": [15]})
    event_id = await stack.api.send(space, TYPE, payload=text, payload_content_type="text/plain")
    await stack.api.wait_for_outcomes(space, event_id, "failed", "waiting")
    await stack.processes["deliver"][0].kill()
    delete_all_records(stack.kafka, stack.topics.events)
    return space, event_id


async def test_what_the_log_does_not_have_any_more_comes_from_the_archive(
    kafka: str, postgres: str, migrated_template: str
) -> None:
    """The log drops the event before its retry, and deliver is killed: its next start finds nothing in its spool."""
    async with run_stack(kafka, postgres, migrated_template, *NAMES) as stack, Receiver() as receiver:
        text = make_text(SIZE)
        (deliver,) = stack.processes["deliver"]
        space, event_id = await lose_event(stack, receiver, text)
        await deliver.start()
        await eventually(lambda: check_count(receiver, 2), timeout_s=60)

        assert text.encode() == receiver.requests()[1].body
        assert {"spool": 0, "log": 0, "archive": 1} == await read_counts(deliver)
        assert 2 == len(await stack.api.list_attempts(space, event_id))


async def test_a_payload_that_is_nowhere_is_sent_again_once_it_is_redriven(
    kafka: str, postgres: str, migrated_template: str
) -> None:
    """Deliver without a database makes a dead letter that says so; redriven, it carries the archive's payload."""
    async with run_stack(kafka, postgres, migrated_template, *NAMES) as stack, Receiver() as receiver:
        text = make_text(SIZE)
        (deliver,) = stack.processes["deliver"]
        space, event_id = await lose_event(stack, receiver, text)
        deliver.set("DATABASE_WRITE_URL", None)
        await deliver.start()

        async def find_letter() -> dict[str, Any]:
            reply = await stack.api.call("GET", f"/dead_letters?application_id={space.application_id}")
            letters: list[dict[str, Any]] = reply.json
            assert 1 == len(letters)
            return letters[0]

        letter = await eventually(find_letter, timeout_s=60)
        assert "payload_gone" == letter["reason"]
        assert 1 == len(receiver.requests())
        redriven = await stack.api.call(
            "POST",
            "/dead_letters/redrive",
            {"application_id": space.application_id, "dead_ids": [letter["dead_id"]]},
        )
        assert (200, 1) == (redriven.status, redriven.json["redriven"])
        await eventually(lambda: check_count(receiver, 2), timeout_s=60)

        assert text.encode() == receiver.requests()[1].body
        await stack.api.wait_for_outcomes(space, event_id, "failed", "successful")


def check_count(receiver: Receiver, count: int) -> bool:
    return count == len(receiver.requests())


async def test_a_batch_is_read_again_by_its_bytes(kafka: str, topic_prefix: str) -> None:
    """One read has all records of a batch; an offset that is not there any more is said with those that are."""
    site = await DeliverSite(kafka, topic_prefix, partitions=1).prepare()
    for number in range(5):
        site.write_bytes(site.topics.events, b"key", f"value {number}".encode())
    site.flush()
    place = (site.topics.events.name, 0)
    records = [message.value() for message in read_log(kafka, site.topics.events)]

    def look() -> tuple[Any, Any]:
        reader = BatchReader(site.config)
        try:
            found = reader.read(place, 3)
            return found, reader.read(place, 5)
        finally:
            reader.close()

    found, missing = await asyncio.to_thread(look)
    assert (3, b"value 3") in [(record.offset, record.value) for record in found]
    assert {record.value for record in found} <= set(records)
    assert isinstance(missing, str)
    assert "0 to 4, and 5 no more" in missing
