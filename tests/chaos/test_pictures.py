"""A run of some minutes with everything that happens in service, and the panels of all dashboards over its time.

`make pictures` draws what `HOOKLINE_TEST_PICTURES` names: the answers to all queries, as JSON.
"""

import asyncio
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.test_prometheus import EMPTY_WHEN_WELL, find_targets
from tests.support.api import Space, describe_event
from tests.support.dashboards import View, fill_in_promql, fill_in_sql, read_dashboards, reading_as_grafana
from tests.support.eventually import eventually
from tests.support.prometheus import Prometheus
from tests.support.receiver import FailTimes, Ok, Receiver, Slow, Status, Times
from tests.support.stack import Stack, run_stack
from tests.support.steady_load import SteadyLoad

TYPE, OTHER_TYPE = "shop.order.placed", "shop.order.shipped"
NAMES = ("gateway", "matcher", "deliver", "archive")
ANSWERS, LOAD_S = "HOOKLINE_TEST_PICTURES", "HOOKLINE_TEST_PICTURES_S"
STEP_S = 5
RATE_PER_S = 20
FROZEN_S = 5.0
Line = tuple[str, list[tuple[float, float]]]


async def test_every_panel_has_lines_over_a_run(kafka: str, postgres: str, migrated_template: str) -> None:
    """Endpoints are quick, slow, failing for a while and down; deliver stands still in the middle of the run."""
    load_s = float(os.environ.get(LOAD_S, "60"))
    settings = {"ARCHIVE_LEDGER_INTERVAL_S": "5"}
    async with (
        run_stack(kafka, postgres, migrated_template, *NAMES, **settings) as stack,
        Receiver() as receiver,
        Prometheus(await find_targets(stack)) as prometheus,
    ):
        space = await make_subscriptions(stack, receiver)
        begun_s = time.time()
        async with SteadyLoad(stack.api.url, [space], TYPE, RATE_PER_S):
            await work(stack, space, begun_s + load_s / 2)
            (deliver,) = stack.processes["deliver"]
            deliver.freeze()
            await work(stack, space, time.time() + FROZEN_S)
            deliver.thaw()
            await work(stack, space, begun_s + load_s)
        answers = await collect(stack, prometheus, space, begun_s, time.time())
    if ANSWERS in os.environ:
        await asyncio.to_thread(Path(os.environ[ANSWERS]).write_text, json.dumps(answers))
    empty = {title for panels in answers.values() for title, lines in panels.items() if not lines}

    assert empty <= {panel.partition(" #")[0] for panel in EMPTY_WHEN_WELL}


async def make_subscriptions(stack: Stack, receiver: Receiver) -> Space:
    receiver.script("/flaky", Times(300, Ok()), FailTimes(100), Ok())
    receiver.script("/slow", Slow(delay_ms=150))
    space = await stack.api.make_space(TYPE, OTHER_TYPE)
    for path, name in (("/quick", "quick"), ("/flaky", "fails for a while"), ("/slow", "slow")):
        await stack.api.subscribe(
            space, receiver.url(path), TYPE, description=name, delivery={"retry_delays_s": [2, 5, 10]}
        )
    await stack.api.subscribe(
        space, receiver.url("/gone"), OTHER_TYPE, description="gives up", delivery={"retry_delays_s": [1]}
    )
    receiver.script("/gone", Status(500))
    return space


async def work(stack: Stack, space: Space, until_s: float) -> None:
    """Read and be refused now and then until a time, beside the load."""

    async def is_over() -> bool:
        await stack.api.call("GET", f"/events?application_id={space.application_id}", token=space.secret)
        await stack.api.call("POST", "/event", describe_event(space.application_id, "shop.order.x"), token=space.secret)
        await stack.api.send(space, OTHER_TYPE)
        return time.time() >= until_s

    await eventually(is_over, timeout_s=max(1.0, until_s - time.time()) + 60)


async def collect(
    stack: Stack, prometheus: Prometheus, space: Space, begun_s: float, ended_s: float
) -> dict[str, dict[str, list[Line]]]:
    """The lines of all panels; times are seconds since the start of the run."""
    view = View(first_s=int(begun_s), last_s=int(ended_s), step_s=60, application_id=space.application_id)
    answers: dict[str, dict[str, list[Line]]] = {}
    with reading_as_grafana(stack.database_url) as reader:
        for name, dashboard in read_dashboards().items():
            answers[name] = {}
            for panel in dashboard["panels"]:
                lines: list[Line] = []
                for target in panel["targets"]:
                    if "rawSql" in target:
                        lines += await asyncio.to_thread(ask_postgres, reader, fill_in_sql(target["rawSql"], view))
                    else:
                        found = await prometheus.query_range(
                            fill_in_promql(target["expr"]), begun_s, ended_s, step_s=STEP_S
                        )
                        lines += [read_line(each, target["legendFormat"]) for each in found]
                answers[name][panel["title"]] = [
                    (line, [(at - begun_s, value) for at, value in points]) for line, points in lines
                ]
    return answers


def ask_postgres(reader: str, query: str) -> list[Line]:
    """One line for each value of the column `metric`, as Grafana reads the answer."""
    lines: dict[str, list[tuple[float, float]]] = {}
    with psycopg.connect(reader) as connection:
        for at, line, value in connection.execute(query.encode()):
            if value is not None:
                lines.setdefault(str(line), []).append((float(at), float(value)))
    return list(lines.items())


def read_line(series: dict[str, Any], legend: str) -> Line:
    """A series with its name by the legend; gaps of a division by 0 are left out."""
    name = re.sub(r"\{\{(\w+)\}\}", lambda found: str(series["metric"].get(found[1], "")), legend)
    points = [(float(at), float(value)) for at, value in series["values"]]
    return name, [(at, value) for at, value in points if value == value and abs(value) != float("inf")]
