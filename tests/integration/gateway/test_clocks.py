"""A gateway on a host with a wrong clock: what expires, and which day it is, goes by the log's clock."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.integration.gateway.health import read_health
from tests.support.api import Api, Space, describe_event
from tests.support.eventually import eventually
from tests.support.people import make_person
from tests.support.python_clock import PythonClock
from tests.support.single_process import SingleProcess
from tests.support.stack import MASTER_KEY, run_stack

TYPE = "billing.invoice.paid"
TOLERANCE = timedelta(minutes=10)


async def send_with_token(api: Api, space: Space, expires_in: timedelta) -> int:
    """Send an event with a service token that expires then; the status."""
    expires_at = (datetime.now(UTC) + expires_in).isoformat()
    body = {"organization_id": space.organization_id, "name": "ci", "expires_at": expires_at}
    made = await api.call("POST", "/service_token", body)
    assert made.status == 201, made.text
    event = describe_event(space.application_id, TYPE)
    return (await api.call("POST", "/event", event, token=made.json["biscuit"])).status


def read_usage_days(database: str) -> list[timedelta]:
    """How far each day that events were counted for is away from today."""
    with psycopg.connect(database) as connection:
        found = connection.execute("select day - (now() at time zone 'utc')::date from event_usage").fetchall()
    return [timedelta(days=days) for (days,) in found]


@pytest.mark.parametrize("shift", [timedelta(days=40), timedelta(days=-2)], ids=["ahead", "behind"])
async def test_a_wrong_clock_changes_nothing(
    kafka: str, postgres: str, migrated_template: str, tmp_path: Path, shift: timedelta
) -> None:
    """Tokens are valid for as long as they were made for, times that are shown are right, and the quota is today's."""
    clock = PythonClock(tmp_path)
    clock.set(shift.total_seconds())
    async with (
        run_stack(kafka, postgres, migrated_template) as stack,
        SingleProcess(
            "gateway", stack.environ | dict(clock.environ) | {"HOOKLINE_QUOTAS_EVENTS_PER_DAY": "3"}
        ) as gateway,
        Api((await gateway.wait_ready())["api"], MASTER_KEY) as api,
    ):

        async def is_known() -> bool:
            return "clock" in (await read_health(gateway)).json["problems"]

        await eventually(is_known)
        space = await api.make_space(TYPE)
        sent = [await send_with_token(api, space, timedelta(days=days)) for days in (1, 50)]
        session = await api.call("GET", "/organizations", token=(await make_person(api)).access)
        (secret,) = (await api.call("GET", f"/application_secrets?application_id={space.application_id}")).json
        days = await eventually(lambda: asyncio.to_thread(read_usage_days, stack.database_url))

        assert [201, 201] == sent
        assert 200 == session.status
        assert abs(datetime.fromisoformat(secret["created_at"]) - datetime.now(UTC)) < TOLERANCE
        assert [timedelta()] == days
