"""A real Prometheus scrapes real processes: every panel has data, and a fault fires its own alert."""

import asyncio
import json
import sys
from typing import Any

from confluent_kafka import Producer

from tests.support.api import describe_event
from tests.support.eventually import eventually
from tests.support.kafka import delete_all_records
from tests.support.processes import ROOT
from tests.support.prometheus import Prometheus
from tests.support.receiver import FailTimes, Receiver
from tests.support.stack import Stack, run_stack
from tests.support.steady_load import SteadyLoad

TYPE = "billing.invoice.paid"
NAMES = ("gateway", "matcher", "deliver", "archive")
DASHBOARDS = ROOT / "ops" / "grafana" / "dashboards"
# Their labels are not known before something happens: there are no replicas here, and nothing is refused or lacking.
EMPTY_WHEN_WELL = frozenset(
    {
        "Read replicas behind #0",
        "Parked and put into retry tiers #2",
        "Topics that refuse, settings that differ #0",
        "Topics that refuse, settings that differ #1",
    }
)


def list_queries() -> dict[str, str]:
    """Panel and expression of every dashboard, as Grafana sends them."""
    found = {}
    for file in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for number, target in enumerate(panel.get("targets", ())):
                if "expr" not in target:
                    continue  # PostgreSQL answers it
                query = target["expr"].replace("$__rate_interval", "30s").replace("$instance", ".*")
                found[f"{panel['title']} #{number}"] = query
    return found


async def find_targets(stack: Stack) -> dict[str, list[str]]:
    return {
        name: [(await process.wait_ready())["metrics"] for process in processes]
        for name, processes in stack.processes.items()
    }


async def test_dashboards_have_data_and_faults_fire_their_alerts(
    kafka: str, postgres: str, migrated_template: str
) -> None:
    """First nothing fires; then a bad record, a process that is gone, and records deleted unread."""
    settings = {"KAFKA_SESSION_TIMEOUT_S": "6", "ARCHIVE_LEDGER_INTERVAL_S": "2"}
    async with (
        run_stack(kafka, postgres, migrated_template, *NAMES, **settings) as stack,
        Receiver() as receiver,
        Prometheus(await find_targets(stack)) as prometheus,
    ):
        receiver.script("/a", FailTimes(2))
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        async with SteadyLoad(stack.api.url, [space], TYPE, 20):

            async def all_have_data() -> bool:
                await stack.api.call("GET", f"/events?application_id={space.application_id}", token=space.secret)
                unknown = describe_event(space.application_id, "billing.invoice.unknown")
                await stack.api.call("POST", "/event", unknown, token=space.secret)
                empty = [panel for panel, query in list_queries().items() if not await prometheus.query(query)]
                assert EMPTY_WHEN_WELL >= set(empty), f"no data: {sorted(set(empty) - EMPTY_WHEN_WELL)}"
                return True

            await eventually(all_have_data, timeout_s=90)
            before = await prometheus.firing()
            with_data = len(list_queries()) - len(EMPTY_WHEN_WELL)
            sys.stdout.write(f"{with_data} queries have data; firing before: {before}\n")
            assert {} == before

        # a record that is no event
        write(stack, stack.topics.events.name, b"nonsense", b"nonsense")
        refused = await wait_for_alert(prometheus, "RecordsRefused")

        # a process that does not answer any more
        (deliver,) = stack.processes["deliver"]
        await stack.api.send(space, TYPE)
        await deliver.kill()
        down = await wait_for_alert(prometheus, "ProcessDown")

        # records deleted before they were read
        await stack.api.send(space, TYPE)
        await eventually(lambda: is_matched(prometheus), timeout_s=60)
        await asyncio.to_thread(delete_all_records, stack.kafka, stack.topics.deliveries)
        unaccounted = await wait_for_alert(prometheus, "DeliveriesUnaccounted")
        after = await prometheus.firing()
        sys.stdout.write(f"firing after: {sorted(after)}\n")

    assert ["matcher"] == [alert["job"] for alert in refused]
    assert ["deliver"] == [alert["job"] for alert in down]
    assert ["page"] == [alert["severity"] for alert in unaccounted]


async def wait_for_alert(prometheus: Prometheus, name: str) -> list[dict[str, str]]:
    async def find() -> list[dict[str, str]]:
        firing = await prometheus.firing()
        assert name in firing, f"{name} does not fire, but {sorted(firing)}"
        return firing[name]

    return await eventually(find, timeout_s=90)


async def is_matched(prometheus: Prometheus) -> bool:
    """Has the matcher read all there is?"""
    lag: list[dict[str, Any]] = await prometheus.query('sum(hookline_lag_records{job="matcher"})')
    return bool(lag) and float(lag[0]["value"][1]) == 0


def write(stack: Stack, topic: str, key: bytes, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers, "partitioner": "murmur2_random"})
    producer.produce(topic, key=key, value=value)
    assert 0 == producer.flush(10)
