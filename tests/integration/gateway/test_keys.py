"""Sealing keys: nothing readable is stored, a lost key is told at the start, a changed one loses nothing."""

import psycopg

from tests.integration.gateway.test_dead_letters import run_command
from tests.support.commands import run_hookline
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.single_process import SingleProcess
from tests.support.stack import KEYS, run_stack
from tests.support.verification import verify_delivery

TYPE = "billing.invoice.paid"
NEW_KEYS = "new:" + "HxwdHhsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA="


async def test_keys_rotate(kafka: str, postgres: str, migrated_template: str) -> None:
    """`keys rotate` seals everything with the new one of two given keys; the old one is then not needed."""
    async with (
        run_stack(kafka, postgres, migrated_template, "gateway", SEALING_KEYS=KEYS) as stack,
        Receiver() as receiver,
    ):
        space = await stack.api.make_space(TYPE)
        created = await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        with psycopg.connect(stack.database_url) as connection:
            stored = str(connection.execute("select * from subscriptions").fetchall())
            stored += str(connection.execute("select * from application_secrets").fetchall())
        await stack.processes["gateway"][0].stop()

        stack.environ["HOOKLINE_SEALING_KEYS"] = NEW_KEYS
        lost = SingleProcess("gateway", stack.environ)
        await lost.start(wait_ready=False)
        lost_code = await lost.wait()
        listed_without = await run_command(stack, "keys", "list")
        stack.environ["HOOKLINE_SEALING_KEYS"] = f"{NEW_KEYS} {KEYS}"
        dry = await run_command(stack, "keys", "rotate", "--dry-run")
        rotated = await run_command(stack, "keys", "rotate")
        again = await run_command(stack, "keys", "rotate")
        stack.environ["HOOKLINE_SEALING_KEYS"] = NEW_KEYS
        listed = await run_command(stack, "keys", "list")
        names = ("gateway", "matcher", "deliver")
        processes = [SingleProcess(name, stack.environ) for name in names]
        for process in processes:
            await process.start()
        try:
            address = (await processes[0].wait_ready())["api"]
            stack.api.url = address
            await stack.api.send(space, TYPE)
            (request,) = await eventually(lambda: receiver.requests("/a"))
            shown = await stack.api.call("GET", f"/subscriptions/{created['subscription_id']}", token=space.secret)
        finally:
            for process in processes:
                await process.stop()

        assert created["secret"] not in stored
        assert space.secret not in stored
        assert 2 == lost_code
        assert "test" in lost.log()
        assert "HOOKLINE_SEALING_KEY_FILE" in lost.log()
        assert (2, True) == (listed_without[0], "MISSING" in listed_without[1])
        assert "1 applications" in dry[1]
        assert "sealed 2 secrets of 1 applications again with new" in rotated[1]
        assert "sealed 0 secrets" in again[1]
        assert (0, False) == (listed[0], "test" in listed[1])
        assert created["secret"] == shown.json["secret"]
        verify_delivery(request, created["secret"])


async def test_a_rotation_that_was_cut_off_is_completed(kafka: str, postgres: str, migrated_template: str) -> None:
    """A rotation changes nothing without the old key, and publishes what an earlier one sealed and did not publish."""
    async with run_stack(kafka, postgres, migrated_template, "gateway") as stack:
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, "http://example.com/", TYPE)
        await stack.processes["gateway"][0].stop()
        stack.environ["HOOKLINE_SEALING_KEYS"] = NEW_KEYS
        without = await run_hookline("keys", "rotate", environ=stack.environ)
        dry_without = await run_hookline("keys", "rotate", "--dry-run", environ=stack.environ)
        with psycopg.connect(stack.database_url) as connection:
            connection.execute("update applications set published_version = routes_version - 1")
        stack.environ["HOOKLINE_SEALING_KEYS"] = f"{KEYS} {NEW_KEYS}"
        rotated = await run_hookline("keys", "rotate", environ=stack.environ)
        with psycopg.connect(stack.database_url) as connection:
            left = connection.execute("select from applications where published_version < routes_version").fetchall()

        for refused in (without, dry_without):
            assert (2, "") == (refused.code, refused.out)
            assert "is sealed with key 'test', which was not given" in refused.err
            assert "Traceback" not in refused.err
        assert (0, "sealed 0 secrets of 0 applications again with test\n") == (rotated.code, rotated.out)
        assert [] == left


async def test_deliver_refuses_to_start_without_the_key(kafka: str, postgres: str, migrated_template: str) -> None:
    """A sink that could sign nothing says so at its start, and what to do; a gateway that cannot show a secret: 503."""
    async with run_stack(kafka, postgres, migrated_template, "gateway") as stack:
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, "http://example.com/", TYPE)
        deliver = SingleProcess("deliver", stack.environ | {"HOOKLINE_SEALING_KEYS": NEW_KEYS})
        await deliver.start(wait_ready=False)
        code = await deliver.wait()

        with psycopg.connect(stack.database_url) as connection:
            connection.execute("update subscriptions set key_id = 'of another gateway'")
        shown = await stack.api.call("GET", f"/subscriptions?application_id={space.application_id}", token=space.secret)

        assert 2 == code
        assert "HOOKLINE_SEALING_KEY_FILE" in deliver.log()
        assert (503, "ServiceUnavailable") == shown.problem
