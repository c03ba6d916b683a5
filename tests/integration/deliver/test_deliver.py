"""The deliver process on a real Kafka against a scripted receiver."""

import asyncio
import time
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

from pipeline.core.events.records import DeadLetter, Delivery, EndpointState
from tests.integration.deliver.deliver_site import SECRET, DeliverSite, ids_of
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.receiver import FailTimes, Gone, Hang, Receiver, Slow, Status
from tests.support.verification import verify_delivery


async def test_delivers_signed(kafka: str, topic_prefix: str) -> None:
    """A delivery arrives once, byte for byte, signed for every client, and its attempt is written down."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    payload = '{"name":"Grüße", "n": 1.0}'.encode()
    async with Receiver() as receiver:
        subscriber = site.subscribe(receiver.url("/a?b=c"), headers={"X-Own": "1", "Authorization": "Bearer abc"})
        async with site.deliver():
            (delivery,) = site.send(subscriber, payload=payload)
            (attempt,) = await site.attempts(1)

        (request,) = receiver.requests()
        assert payload == request.body
        assert "/a?b=c" == request.target
        assert ("hook0", "standardwebhooks", "svix") == verify_delivery(request, SECRET)
        assert delivery.delivery_id == request.header("webhook-id")
        assert delivery.event_id == request.header("X-Event-Id")
        assert "billing.invoice.paid" == request.header("X-Event-Type")
        assert "Bearer abc" == request.header("Authorization")
        assert "succeeded" == attempt.outcome
        assert 200 == attempt.response_status
        assert b"ok" == attempt.response_body
        assert "(redacted)" == attempt.request_headers["authorization"]
        assert {"dns", "connect", "tls", "first_byte", "total"} == attempt.timings_us.keys()


async def test_retries_until_it_succeeds(kafka: str, topic_prefix: str) -> None:
    """Each failure is followed by an attempt when it is due, not before, until one succeeds."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        receiver.script("/a", FailTimes(2, 503))
        subscriber = site.subscribe(receiver.url("/a"), retry_delays_s=[0.2, 1.5, 60])
        async with site.deliver():
            site.send(subscriber)
            attempts = sorted(await site.attempts(3), key=lambda attempt: attempt.attempt_number)

        assert ["failed", "failed", "succeeded"] == [attempt.outcome for attempt in attempts]
        assert [1, 2, 3] == [attempt.attempt_number for attempt in attempts]
        assert 3 == len(receiver.requests())
        for before, after in pairwise(attempts):
            assert before.next_due_at_us is not None
            assert before.next_due_at_us <= after.started_at_us


async def test_gives_up(kafka: str, topic_prefix: str) -> None:
    """A dead letter says why after the last attempt, and no further request is made."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver(default=Status(400)) as receiver:
        subscriber = site.subscribe(receiver.url("/a"), retry_delays_s=[0.1])
        async with site.deliver():
            (delivery,) = site.send(subscriber)
            attempts = await site.attempts(2)

        assert [None] == [attempt.next_due_at_us for attempt in attempts if attempt.attempt_number == 2]
        (letter,) = site.read(site.topics.dead)
        assert isinstance(letter, DeadLetter)
        assert "exhausted" == letter.reason
        assert delivery.delivery_id == letter.delivery_id
        assert 2 == receiver.received


async def test_cancels_when_disabled_or_deleted(kafka: str, topic_prefix: str) -> None:
    """Deliveries that wait for a subscription that was disabled or deleted are cancelled, without a request."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        disabled = site.subscribe(receiver.url("/a"), enabled=False)
        deleted = site.subscribe(receiver.url("/b"), deleted=True)
        enabled_again = site.subscribe(receiver.url("/c"), cancel_before_us=time.time_ns() // 1000 + 60_000_000)
        async with site.deliver():
            for subscriber in (disabled, deleted, enabled_again):
                site.send(subscriber)
            attempts = await site.attempts(3)

        assert ["cancelled"] * 3 == [attempt.outcome for attempt in attempts]
        assert 0 == receiver.received


async def test_buries_poison(kafka: str, topic_prefix: str) -> None:
    """Records that cannot be read become dead letters, and the partition moves on."""
    site = await DeliverSite(kafka, topic_prefix, partitions=1).prepare()
    async with Receiver() as receiver:
        subscriber = site.subscribe(receiver.url("/a"))
        poison = [(None, None), (b"k", b"junk"), (b"\xff\xfe", b"\xc3\x01" + bytes(20)), (b"k", b"")]
        for topic in (site.topics.deliveries, site.topics.retries[0]):
            for key, value in poison:
                site.write_bytes(topic, key, value)
        async with site.deliver():
            site.send(subscriber)
            await site.attempts(1)
            await eventually(lambda: len(site.read(site.topics.dead)) == 2 * len(poison))

        letters = site.read(site.topics.dead)

        assert {"undecodable"} == {letter.reason for letter in letters if isinstance(letter, DeadLetter)}
        assert 1 == receiver.received


async def test_what_was_altered_is_not_sent(kafka: str, topic_prefix: str) -> None:
    """A delivery whose content does not have its checksum becomes a dead letter; the others of its partition go on."""
    site = await DeliverSite(kafka, topic_prefix, partitions=1).prepare()
    async with Receiver() as receiver:
        subscriber = site.subscribe(receiver.url("/a"))
        async with site.deliver():
            (altered,) = site.send(subscriber, content_crc32=1)
            (retried,) = site.send(subscriber, content_crc32=1, topic=site.topics.retries[0], attempt_number=2)
            (delivery,) = site.send(subscriber)
            await site.attempts(1)
            await eventually(lambda: len(site.read(site.topics.dead)) == 2)

        letters = [letter for letter in site.read(site.topics.dead) if isinstance(letter, DeadLetter)]

        assert [delivery.delivery_id] == [request.header("webhook-id") for request in receiver.requests()]
        assert {("corrupt", altered.delivery_id), ("corrupt", retried.delivery_id)} == {
            (letter.reason, letter.delivery_id) for letter in letters
        }


async def test_hanging_endpoint_holds_nobody(kafka: str, topic_prefix: str) -> None:
    """All deliveries of one endpoint arrive beside another one that hangs, whatever the order they came in."""
    site = await DeliverSite(kafka, topic_prefix, partitions=1).prepare()
    async with Receiver() as receiver:
        receiver.script("/hangs", Hang())
        hanging, healthy = site.subscribe(receiver.url("/hangs")), site.subscribe(receiver.url("/ok"))
        async with site.deliver(WORKER_SHUTDOWN_GRACE_S="1"):
            site.send(hanging, count=500)
            deliveries = site.send(healthy, count=300)
            await eventually(lambda: len(receiver.requests("/ok")) == len(deliveries))
            await eventually(lambda: receiver.max_open("/hangs") >= 8)

        assert ids_of(deliveries) == sorted(request.header("webhook-id") for request in receiver.requests("/ok"))
        # no more than the endpoint may have at once
        assert 8 == receiver.max_open("/hangs")


async def test_restart_repeats_only_what_was_in_flight(kafka: str, topic_prefix: str) -> None:
    """Kill -9 loses nothing, and only requests that were open are made again."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        receiver.script("/hangs", Hang())
        hanging, healthy = site.subscribe(receiver.url("/hangs")), site.subscribe(receiver.url("/ok"))
        process = site.deliver()
        async with process:
            stuck = site.send(hanging, count=3)
            deliveries = site.send(healthy, count=200)
            await eventually(lambda: len(receiver.requests("/ok")) == 200 and len(receiver.requests("/hangs")) == 3)
            await site.attempts(200)
            await process.kill()
            receiver.script("/hangs", Status(200))
            await process.start()
            attempts = await site.attempts(203)
            more = site.send(healthy, count=50)
            await site.attempts(253)

        assert ids_of([*stuck, *deliveries]) == ids_of(attempts)
        assert ids_of([*deliveries, *more]) == sorted(
            request.header("webhook-id") for request in receiver.requests("/ok")
        )
        assert 6 == len(receiver.requests("/hangs"))


async def test_retry_waits_over_a_restart(kafka: str, topic_prefix: str) -> None:
    """A retry that waits in Kafka is made when it is due although the process was restarted meanwhile."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        receiver.script("/a", FailTimes(1))
        subscriber = site.subscribe(receiver.url("/a"), retry_delays_s=[4.0])
        process = site.deliver()
        async with process:
            site.send(subscriber)
            (first,) = await site.attempts(1)
            assert 0 == await process.stop()
            await process.start()
            attempts = await site.attempts(2)

        (second,) = [attempt for attempt in attempts if attempt.attempt_number == 2]
        assert first.next_due_at_us is not None
        assert first.next_due_at_us <= second.started_at_us
        assert "succeeded" == second.outcome


async def test_longer_lane_is_parked(kafka: str, topic_prefix: str) -> None:
    """Deliveries beyond one lane's share wait in Kafka beside others, count no attempt, and arrive in the end."""
    site = await DeliverSite(kafka, topic_prefix, partitions=1).prepare()
    async with Receiver() as receiver:
        receiver.script("/slower", Slow(delay_ms=5))
        heavy, light = site.subscribe(receiver.url("/slower")), site.subscribe(receiver.url("/b"))
        async with site.deliver(WORKER_LANE_MAX_RECORDS="50", WORKER_CONCURRENCY="1"):
            deliveries = site.send(light) + site.send(heavy, count=300)
            attempts = await site.attempts(301)

        assert ids_of(deliveries) == ids_of(attempts)
        assert {1} == {attempt.attempt_number for attempt in attempts}
        parked = [record for tier in site.topics.retries for record in site.read(tier)]
        assert {heavy.subscription_id} == {record.subscription_id for record in parked if isinstance(record, Delivery)}


async def test_lone_lane_is_not_parked(kafka: str, topic_prefix: str) -> None:
    """An endpoint's backlog without competing endpoints stays where it is: parking it would free nothing needed."""
    site = await DeliverSite(kafka, topic_prefix, partitions=1).prepare()
    async with Receiver() as receiver:
        subscriber = site.subscribe(receiver.url("/a"))
        async with site.deliver(WORKER_LANE_MAX_RECORDS="5", WORKER_IN_FLIGHT_MAX="1200"):
            deliveries = site.send(subscriber, count=1000)
            attempts = await site.attempts(1000)

        assert ids_of(deliveries) == ids_of(attempts)
        assert [] == [record for tier in site.topics.retries for record in site.read(tier)]


async def test_a_poison_endpoint_stops_nobody(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """A certificate with a comment that is not ASCII ended the process at each try: it is loaded, and all go on."""
    site = await DeliverSite(kafka, topic_prefix, partitions=1).prepare()
    authority = Authority(tmp_path)
    async with Receiver() as receiver, Receiver(tls=authority.server_context(), name="localhost") as secure:
        poisoned = site.subscribe(secure.url("/b"), tls_ca_pem="# Müller CA\n" + authority.ca_file.read_text())
        healthy = site.subscribe(receiver.url("/ok"))
        async with site.deliver() as deliver:
            site.send(poisoned)
            deliveries = site.send(healthy, count=20)
            await eventually(lambda: len(receiver.requests("/ok")) == len(deliveries))
            await eventually(lambda: len(secure.requests("/b")) == 1)

            assert deliver.is_running


async def test_nobody_is_disabled_while_most_endpoints_fail(kafka: str, topic_prefix: str) -> None:
    """A firewall that blocks our addresses answers 403 for all of them: it is said, and no one is disabled for it."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver(default=Status(403)) as receiver:
        for number in range(8):
            site.send(site.subscribe(receiver.url(f"/{number}"), retry_delays_s=[0.2] * 50))
        async with site.deliver(DELIVER_DISABLE_AFTER_S="1"):
            attempts = await site.attempts(8 * 12, timeout_s=120)
        states = [state for state in site.read(site.topics.endpoint_states) if isinstance(state, EndpointState)]

        for state in states:
            started = [
                attempt.started_at_us for attempt in attempts if attempt.subscription_id == state.subscription_id
            ]
            assert max(started) - min(started) > 1_000_000  # alone it would have been disabled
            assert state.disable_reason is None


async def test_one_owner_keeps_nobody_else_enabled(kafka: str, topic_prefix: str) -> None:
    """Most endpoints fail, and they are one application's: a dead one of another is disabled all the same."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        receiver.script("/dead/*", Status(503))
        theirs = str(uuid4())
        for number in range(40):
            url, retries = receiver.url(f"/dead/{number}"), [0.5] * 50
            site.send(site.subscribe(url, retry_delays_s=retries, application_id=theirs))
        other = site.subscribe(receiver.url("/dead/other"), retry_delays_s=[0.5] * 50, application_id=str(uuid4()))
        site.send(other)
        healthy = [site.subscribe(receiver.url(f"/{number}"), application_id=str(uuid4())) for number in range(12)]
        deliveries = [delivery for each in healthy for delivery in site.send(each)]
        async with site.deliver(DELIVER_DISABLE_AFTER_S="2"):
            await eventually(
                lambda: len(deliveries) == sum(not each.path.startswith("/dead/") for each in receiver.requests())
            )

            def is_disabled() -> bool:
                states = [state for state in site.read(site.topics.endpoint_states) if isinstance(state, EndpointState)]
                return any(each.disable_reason for each in states if each.subscription_id == other.subscription_id)

            await eventually(lambda: asyncio.to_thread(is_disabled), timeout_s=60)


async def test_a_late_answer_of_the_old_place_holds_up_no_new_one(kafka: str, topic_prefix: str) -> None:
    """The owner moves an endpoint while a request to the old place is open, which then answers that it is gone.

    What it refused goes to the new place as well.
    """
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver() as receiver, site.deliver():
        receiver.script("/old", Slow(3000, Gone()))
        old = site.subscribe(receiver.url("/old"), retry_delays_s=[0.5])
        site.send(old)
        await eventually(lambda: receiver.requests("/old"))
        new = site.subscribe(receiver.url("/new"), subscription_id=old.subscription_id, version=2)
        site.send(new)
        await eventually(lambda: receiver.requests("/new"))
        await site.attempts(2)
        site.send(new)
        await eventually(lambda: len(receiver.requests("/new")) == 3)
        await site.attempts(4)
        states = [state for state in site.read(site.topics.endpoint_states) if isinstance(state, EndpointState)]

    assert [] == [state for state in states if state.disable_reason is not None]
    assert [] == await asyncio.to_thread(site.read, site.topics.dead)
