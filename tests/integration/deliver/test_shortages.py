"""Shortages of deliver itself: deliveries wait for it, no endpoint is blamed, and /health answers."""

import resource

import psutil

from tests.integration.deliver.deliver_site import DeliverSite, ids_of
from tests.integration.deliver.test_keys import read_health
from tests.support.eventually import eventually
from tests.support.receiver import FailTimes, Receiver, Slow

FILES = 100
ENDPOINTS = 60


async def test_files_used_up(kafka: str, topic_prefix: str) -> None:
    """More connections wanted than there are files: all is delivered with the first attempt, and said meanwhile."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        for number in range(ENDPOINTS):
            receiver.script(f"/{number}", Slow(3))
        subscribers = [site.subscribe(receiver.url(f"/{number}")) for number in range(ENDPOINTS)]
        limit = f"--nofile={FILES}:{FILES}"
        async with site.deliver("prlimit", limit) as deliver:
            sent = [delivery for each in subscribers for delivery in site.send(each)]
            await eventually(lambda: "local_shortage" in deliver.log())
            status, problems = await read_health(deliver)
            attempts = await site.attempts(len(sent), timeout_s=120)

        assert (503, True) == (status, "files" in problems["local"])
        assert ids_of(sent) == ids_of(attempts)
        assert {("succeeded", 1, None)} == {
            (attempt.outcome, attempt.attempt_number, attempt.error_detail) for attempt in attempts
        }


async def test_threads_used_up(kafka: str, topic_prefix: str) -> None:
    """No memory for another thread's stack: names are looked up as soon as there is some, and nothing has failed."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver(name="localhost") as receiver:
        subscribers = [site.subscribe(receiver.url(f"/{number}")) for number in range(20)]
        # glibc keeps the stacks of threads that have ended, which would do for others
        async with site.deliver("env", "GLIBC_TUNABLES=glibc.pthread.stack_cache_size=0") as deliver:
            process = psutil.Process(deliver.pid)
            process.rlimit(resource.RLIMIT_AS, (process.memory_info().vms + 4 * 1024 * 1024, resource.RLIM_INFINITY))
            sent = [delivery for each in subscribers for delivery in site.send(each, count=20)]
            await eventually(lambda: "kind=threads" in deliver.log())
            process.rlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            attempts = await site.attempts(len(sent), timeout_s=120)
            assert deliver.is_running

        assert ids_of(sent) == ids_of(attempts)
        assert {("succeeded", 1, None)} == {
            (attempt.outcome, attempt.attempt_number, attempt.error_detail) for attempt in attempts
        }


async def test_a_full_disk_for_logs(kafka: str, topic_prefix: str) -> None:
    """Lines that cannot be logged are lost; everything else goes on as before."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        receiver.script("/0", FailTimes(1, 500))
        subscribers = [site.subscribe(receiver.url(f"/{number}"), retry_delays_s=[0.1]) for number in range(3)]
        # each write to it fails for lack of space, as on a disk that is full
        async with site.deliver("sh", "-c", 'exec "$0" "$@" 2>/dev/full') as deliver:
            sent = [delivery for each in subscribers for delivery in site.send(each)]
            attempts = await site.attempts(len(sent) + 1, timeout_s=60)
            assert deliver.is_running

        assert {delivery.delivery_id for delivery in sent} == {
            attempt.delivery_id for attempt in attempts if attempt.outcome == "succeeded"
        }
