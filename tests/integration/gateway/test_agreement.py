"""PostgreSQL and the log after one of them went back in time: found, said, and brought in line with the database."""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from psycopg.sql import SQL, Identifier

from pipeline.kafka.admin import apply_topics
from tests.integration.gateway.health import read_health
from tests.support.api import Api, Reply, Space, describe_event, describe_type
from tests.support.eventually import eventually
from tests.support.postgres import create_database, name_of
from tests.support.processes import ROOT, select_environ
from tests.support.receiver import Receiver
from tests.support.single_process import SingleProcess
from tests.support.stack import Stack, run_stack

TYPE, LATER_TYPE = "billing.invoice.paid", "billing.invoice.later"


async def kill_all(stack: Stack) -> None:
    """`kill -9`, as a power cut does."""
    for processes in stack.processes.values():
        for process in processes:
            await process.kill()


async def start_all(stack: Stack) -> None:
    for processes in stack.processes.values():
        for process in processes:
            await process.start()
    for api, process in zip(stack.apis, stack.processes["gateway"], strict=True):
        api.url = (await process.wait_ready())["api"]


def copy_database(server: str, name: str, template: str) -> None:
    """Replace a database, while clients are connected, by a copy of another one: a backup, or its restore."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (template,))
        admin.execute(SQL("create database {} template {}").format(Identifier(name), Identifier(template)))


def diagnose(stack: Stack) -> tuple[int, list[dict[str, Any]]]:
    """`hookline doctor --json`: exit code and differences."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "doctor", "--json"],
        cwd=ROOT,
        env=select_environ(os.environ) | stack.environ,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)["differences"]


async def try_event(api: Api, application_id: str, token: str, event_type: str = TYPE) -> Reply:
    return await api.call("POST", "/event", describe_event(application_id, event_type), token=token)


async def mint(api: Api, space: Space) -> str:
    reply = await api.call("POST", "/application_secrets", {"application_id": space.application_id})
    assert reply.status == 201, reply.text
    token: str = reply.json["token"]
    return token


async def agrees(stack: Stack) -> bool:
    (gateway,) = stack.processes["gateway"]
    return "control_plane" not in (await read_health(gateway)).json["problems"]


async def test_restored_from_a_backup(kafka: str, postgres: str, migrated_template: str) -> None:
    """Changes after the backup are taken back; changes from then on work at once, everywhere."""
    names = ("gateway", "matcher", "deliver", "archive")
    async with Receiver() as receiver, run_stack(kafka, postgres, migrated_template, *names) as stack:
        database = name_of(stack.database_url)
        backup = f"{database}_backup"
        api, space = stack.api, await stack.api.make_space(TYPE)
        await api.subscribe(space, receiver.url("/kept"), TYPE)
        await kill_all(stack)
        await asyncio.to_thread(copy_database, postgres, backup, database)
        await start_all(stack)
        # after the backup: an application, and in the other one a type, a subscription and a secret
        ghost = await api.make_space(TYPE)
        await api.subscribe(ghost, receiver.url("/ghost"), TYPE)
        ghost_secret = await mint(api, space)
        await api.subscribe(space, receiver.url("/lost"), TYPE)
        await api.call("POST", "/event_types", describe_type(space.application_id, LATER_TYPE))
        assert (0, []) == await asyncio.to_thread(diagnose, stack)
        await kill_all(stack)
        await asyncio.to_thread(copy_database, postgres, database, backup)
        code, differences = await asyncio.to_thread(diagnose, stack)
        await start_all(stack)

        # the first change after the restore applies to the very next event
        created = await api.call("POST", "/event_types", describe_type(space.application_id, LATER_TYPE))
        accepted = await try_event(api, space.application_id, space.secret, LATER_TYPE)
        spare = await mint(api, space)
        revoked = await api.call("DELETE", f"/application_secrets/{spare}?application_id={space.application_id}")
        of_spare = await try_event(api, space.application_id, spare)
        await api.subscribe(space, receiver.url("/new"), TYPE)

        async def is_refused() -> bool:
            replies = [
                await try_event(api, ghost.application_id, ghost.secret),
                await try_event(api, space.application_id, ghost_secret),
            ]
            return all(reply.status == 403 for reply in replies)

        await eventually(is_refused, timeout_s=60)
        await eventually(lambda: agrees(stack), timeout_s=60)
        event_id = await api.send(space, TYPE)
        await eventually(
            lambda: (
                {"/kept", "/new"}
                <= {request.path for request in receiver.requests() if request.header("X-Event-Id") == event_id}
            )
        )
        healed = await asyncio.to_thread(diagnose, stack)
        logs = "".join(process.log() for process in stack.processes["gateway"])
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute(SQL("drop database {} with (force)").format(Identifier(backup)))

        assert 1 == code
        assert {"application", "version", "event_type", "secret", "subscription", "endpoint"} == {
            each["what"] for each in differences
        }
        assert [201, 201, 204, 403] == [created.status, accepted.status, revoked.status, of_spare.status]
        assert (0, []) == healed
        assert [] == [each for each in receiver.requests("/lost") if each.header("X-Event-Id") == event_id]
        assert [] == receiver.requests("/ghost")
        assert "routes_healed" in logs
        assert "application_taken_back" in logs

        # and again with a database that has nothing: what is left of the old one stops
        await kill_all(stack)
        await asyncio.to_thread(copy_database, postgres, database, migrated_template)
        await start_all(stack)

        async def is_gone() -> bool:
            return (await try_event(api, space.application_id, space.secret)).status == 403

        await eventually(is_gone, timeout_s=60)
        new = await api.make_space(TYPE)
        await api.subscribe(new, receiver.url("/empty"), TYPE)
        await api.send(new, TYPE)
        await eventually(lambda: receiver.requests("/empty"))
        # one application after the other is taken back
        await eventually(lambda: diagnose(stack) == (0, []), timeout_s=120)


async def test_a_routes_topic_that_was_lost(kafka: str, postgres: str, migrated_template: str) -> None:
    """Deleted and made again: the gateways publish everything again."""
    async with run_stack(kafka, postgres, migrated_template, "gateway") as stack:
        space = await stack.api.make_space(TYPE)
        await kill_all(stack)
        await asyncio.to_thread(recreate_routes, stack)
        await start_all(stack)

        async def is_accepted() -> bool:
            return (await try_event(stack.api, space.application_id, space.secret)).status == 201

        await eventually(is_accepted, timeout_s=60)
        await eventually(lambda: agrees(stack))
        assert (0, []) == await asyncio.to_thread(diagnose, stack)


def recreate_routes(stack: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": stack.kafka.bootstrap_servers})
    name = stack.topics.routes.name
    admin.delete_topics([name])[name].result(30)
    apply_topics(stack.kafka, stack.topics)


@pytest.mark.parametrize("is_copy", [False, True], ids=["another database", "a copy of the same"])
async def test_two_installations_with_one_prefix(
    kafka: str, postgres: str, migrated_template: str, is_copy: bool
) -> None:
    """Gateways of two databases do not take turns at taking back and publishing again, and say so: the API goes on.

    Once the second one takes back what its database does not have, as if its database had replaced the other one.
    """
    async with run_stack(kafka, postgres, migrated_template, "gateway") as stack:
        space = await stack.api.make_space(TYPE)
        (first,) = stack.processes["gateway"]
        with create_database(postgres, template=migrated_template) as url:
            if not is_copy:
                with psycopg.connect(url) as connection:
                    connection.execute("update control_plane set control_plane_id = gen_random_uuid()")
            async with SingleProcess("gateway", stack.environ | {"HOOKLINE_DATABASE_WRITE_URL": url}) as second:

                async def says(process: SingleProcess, count: int) -> bool:
                    problem = (await read_health(process)).json["problems"].get("control_plane", "")
                    assert "another database publishes into these topics" in problem
                    assert f"disagree about {count} applications" in problem
                    return True

                await eventually(lambda: says(second, 1), timeout_s=60)
                if not is_copy:
                    await eventually(lambda: says(first, 0), timeout_s=60)
                    later = await stack.api.make_space(TYPE)
                    await eventually(lambda: says(second, 2), timeout_s=60)
                    assert 201 == (await try_event(stack.api, later.application_id, later.secret)).status
                assert 201 == (await try_event(stack.api, space.application_id, space.secret)).status
                assert 1 == second.log().count("application_taken_back")
