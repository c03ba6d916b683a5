"""Every process is killed once under load: short in the e2e tests, long in tests/chaos."""

import asyncio
from pathlib import Path

import psycopg

from tests.e2e.ledger import draw_up, send_all
from tests.support.api import Api
from tests.support.eventually import eventually
from tests.support.payloads import real_payloads
from tests.support.processes import HooklineUp
from tests.support.receiver import ReceiverProcess

AT_ONCE = 32
SUBSCRIPTIONS = 2
# Requests of a process that is killed: what one endpoint may have open at most, and what was answered a moment ago and
# not recorded yet. Events are sent by 32 clients that wait for their answer, so there is never much more on its way.
IN_FLIGHT_MAX = 100 * SUBSCRIPTIONS + 2 * AT_ONCE
PAYLOADS = [payload for payload in real_payloads() if len(payload.payload) < 12_000]


async def kill_everything_once(directory: Path, events: int, **settings: str) -> None:
    """Gateway, matcher, deliver and archive are killed while `events` are sent: all is delivered and archived, once.

    The kills come when 7.5, 15, 22.5 and 30 % of the requests have arrived. `settings`: of Hookline, as
    `WORKER_CONCURRENCY`.
    """
    environ = {f"HOOKLINE_{name}": value for name, value in settings.items()}
    event_types = sorted({payload.event_type for payload in PAYLOADS})
    async with HooklineUp("--no-demo", environ=environ) as up, ReceiverProcess(directory / "journal") as receiver:
        async with Api(up.report.api, up.report.master_api_key) as api:
            space = await api.make_space(*event_types)
            for number in range(SUBSCRIPTIONS):
                for start in range(0, len(event_types), 100):
                    await api.subscribe(space, receiver.url(f"/{number}"), *event_types[start : start + 100])
        sending = asyncio.create_task(
            send_all(up.report.api, space.application_id, space.secret, PAYLOADS, count=events, at_once=AT_ONCE)
        )
        try:
            for turn, name in enumerate(("gateway", "matcher", "deliver", "archive"), start=1):
                await eventually(lambda: len(receiver.requests()) > turn * events * 0.15, timeout_s=240)  # noqa: B023 - in this turn
                up.kill(name)
                await up.wait_restarted(name)
            accepted = await sending
        finally:
            sending.cancel()

        def is_at_rest() -> bool:
            """The archive has all of it; it reads attempts and events side by side."""
            with psycopg.connect(up.report.database_url) as connection:
                row = connection.execute(
                    "select (select count(*) from attempts where application_id = %(id)s and outcome = 'succeeded'), "
                    "(select count(*) from events where application_id = %(id)s), "
                    "(select count(*) from deliveries where application_id = %(id)s)",
                    {"id": space.application_id},
                ).fetchone()
            expected = events * SUBSCRIPTIONS, events, events * SUBSCRIPTIONS
            assert row == expected, f"succeeded, events, deliveries: {row} of {expected}"
            return True

        await eventually(is_at_rest, timeout_s=180)
        ledger = draw_up(
            up.report.database_url,
            space.application_id,
            accepted,
            receiver.requests(),
            subscriptions=SUBSCRIPTIONS,
        )

    assert events == ledger.events
    assert events * SUBSCRIPTIONS == ledger.deliveries == ledger.attempts
    assert ledger.repeated == ledger.unknown
    assert ledger.repeated <= IN_FLIGHT_MAX, f"{ledger.repeated} requests were repeated"
