"""Commands that cannot do their work: one sentence that says what to do, an exit code, and with --json an object."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import psycopg
import pytest
from aiohttp import web
from confluent_kafka.admin import AdminClient

from tests.support.command_lines import COMMANDS
from tests.support.commands import Finished, run_hookline
from tests.support.processes import ROOT, select_environ

ID = "0190f1a2-0000-7000-8000-000000000001"
KEYS = {"HOOKLINE_SEALING_KEYS": "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
# Those that ask PostgreSQL, and whether they need its tables.
OF_DATABASE = {
    "ledger --json": True,
    "doctor --json": True,
    "backup check --json": True,
    "db report --json": False,
    "partitions list --json": True,
    f"partitions isolate {ID}": True,
    f"partitions join {ID} --dry-run": True,
    "dead list": True,
    f"dead show {ID}": True,
    f"dead redrive {ID}": True,
    "keys list": True,
    f"topics producer {ID}": True,
    "keys rotate --dry-run": True,
    "migrate": False,
    "migrate --dry-run": False,
    "archive detached": True,
    "archive restore 2026-01-01": True,
    "archive rebuild": True,
    "archive rebuild --dry-run": True,
}
CHANGING = frozenset(
    {
        *(f"partitions isolate {ID}", f"dead redrive {ID}", "migrate", "archive restore 2026-01-01"),
        *("archive rebuild", f"topics producer {ID}"),
    }
)
# Those whose end is tested elsewhere, or that ask nothing.
OTHERS = {
    *("up", "send", "trigger", "listen", "gateway", "matcher", "deliver", "archive", "bench"),
    *(
        "keys new",
        "topics plan",
        "topics apply",
        "topics grow",
        "schemas check",
        "settings",
        "profiles",
    ),
    "capacity",
}


def require_sentence(ended: Finished, command: str) -> str:
    """Require one sentence, exit code 2, and JSON where it was asked for; the sentence."""
    assert "Traceback" not in ended.err
    assert 2 == ended.code, ended.err
    lines = ended.err.splitlines()
    last = lines[-1]
    if command in CHANGING and len(lines) > 1:  # where it changes something is said before it is tried
        assert lines.pop(0).startswith("changing ")
    if command == "archive rebuild" and last.startswith("{"):  # a process logs
        sentence = str(json.loads(last)["reason"])
    else:
        assert [last] == lines
        sentence = last.removeprefix("hookline: ")
        assert sentence != last
    assert ({"error": sentence} if "--json" in command else None) == (json.loads(ended.out) if ended.out else None)
    return sentence


def test_every_command_is_looked_at() -> None:
    """A new command is in one of the lists."""
    listed = OTHERS | {word for word in COMMANDS if any(f"{each} ".startswith(f"{word} ") for each in OF_DATABASE)}

    assert set(COMMANDS) == listed


@pytest.fixture
def environ(kafka: str, topic_prefix: str) -> dict[str, str]:
    """Kafka, with topics of this test's own."""
    return {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": kafka, "HOOKLINE_KAFKA_TOPIC_PREFIX": topic_prefix, **KEYS}


async def run_all(commands: Mapping[str, object] | list[str], environ: Mapping[str, str]) -> dict[str, Finished]:
    """Run each command, two at a time."""
    room = asyncio.Semaphore(2)

    async def run(command: str) -> Finished:
        async with room:
            return await run_hookline(*command.split(), environ=environ)

    return dict(zip(commands, await asyncio.gather(*map(run, commands)), strict=True))


async def test_a_postgres_that_is_away(environ: dict[str, str]) -> None:
    """The sentence names the place, without the password."""
    await run_hookline("topics", "apply", environ=environ)
    url = "postgresql://me:hush@127.0.0.1:1/there"
    for command, ended in (await run_all(OF_DATABASE, environ | {"HOOKLINE_DATABASE_WRITE_URL": url})).items():
        sentence = require_sentence(ended, command)

        assert "cannot use PostgreSQL at 127.0.0.1:1, database there" in sentence, command
        assert "hush" not in ended.err


async def test_a_database_without_tables(environ: dict[str, str], empty_database: str) -> None:
    """Commands that need them say what makes them, and make none."""
    await run_hookline("topics", "apply", environ=environ)
    commands = [command for command, needs_tables in OF_DATABASE.items() if needs_tables]
    found = await run_all(commands, environ | {"HOOKLINE_DATABASE_WRITE_URL": empty_database})
    for command, ended in found.items():
        assert "apply them with `hookline migrate`" in require_sentence(ended, command), command
    with psycopg.connect(empty_database) as connection:
        assert (0,) == connection.execute(
            "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
        ).fetchone()


async def test_a_database_that_lost_a_table(environ: dict[str, str], database: str) -> None:
    """The sentence passes on what PostgreSQL says."""
    with psycopg.connect(database) as connection:
        connection.execute("drop table redrives")
    ended = await run_hookline("dead", "list", environ=environ | {"HOOKLINE_DATABASE_WRITE_URL": database})

    assert 'relation "redrives" does not exist' in require_sentence(ended, "dead list")
    assert "`hookline migrate`" in ended.err


async def test_what_is_no_url(environ: dict[str, str]) -> None:
    """The sentence names the setting; the URL may hold a password."""
    commands = ["ledger --json", "dead list", "keys list", "migrate", "db report --json", "partitions list --json"]
    await run_hookline("topics", "apply", environ=environ)
    found = await run_all(commands, environ | {"HOOKLINE_DATABASE_WRITE_URL": "postgresql://me:hush@h/d?wrong=1"})
    for command, ended in found.items():
        assert "is no libpq URL" in require_sentence(ended, command), command
        assert "hush" not in ended.err + ended.out


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("ledger --json --wait soon", 2, "'soon' is not a valid float"),
        ("ledger --json --wait nan", 2, "is no finite number"),
        ("capacity --json --events nan", 2, "is no finite number"),
        ("capacity --json", 2, "say --events"),
        ("db report --json --limit 0", 2, "0 is not in the range"),
        ("partitions list --json --wrong", 2, "No such option: --wrong"),
    ],
)
async def test_a_wrong_option_is_json_as_well(command: str, code: int, said: str) -> None:
    """A program finds an object on standard output; a person, the usage on standard error."""
    ended = await run_hookline(*command.split())

    assert code == ended.code
    assert said in json.loads(ended.out)["error"]
    assert ended.err.startswith("Usage: hookline ")


async def test_an_application_that_does_not_exist(environ: dict[str, str], database: str) -> None:
    """A mistyped id is not "everything is accounted for"."""
    environ = environ | {"HOOKLINE_DATABASE_WRITE_URL": database}
    await run_hookline("topics", "apply", environ=environ)
    ended = await run_hookline("ledger", "--json", "--application", ID, environ=environ)

    assert f"there is no application {ID}" == require_sentence(ended, "ledger --json")


async def test_a_letter_that_does_not_exist(environ: dict[str, str], database: str) -> None:
    """An id that was named is answered, and the exit code says that nothing was sent; a mistyped reason is doubted."""
    environ = environ | {"HOOKLINE_DATABASE_WRITE_URL": database}
    await run_hookline("topics", "apply", environ=environ)
    sent = await run_hookline("dead", "redrive", ID, environ=environ)
    listed = await run_hookline("dead", "list", "--reason", "exausted", environ=environ)

    assert (1, f"left out {ID}: there is no such letter; `hookline dead list` shows what there is\n") == (
        sent.code,
        sent.out,
    )
    assert (0, True) == (
        listed.code,
        listed.out.startswith("no dead letters with the reason 'exausted'; those of Hookline are"),
    )


async def test_a_topic_for_producers_of_no_application(environ: dict[str, str], kafka: str, database: str) -> None:
    """Nothing is made: no event of it would be accepted."""
    environ = environ | {"HOOKLINE_DATABASE_WRITE_URL": database}
    ended = await run_hookline("topics", "producer", ID, environ=environ)
    known = AdminClient({"bootstrap.servers": kafka}, logger=None).list_topics(timeout=60).topics

    assert f"there is no application {ID}" in require_sentence(ended, f"topics producer {ID}")
    assert [] == [name for name in known if name.startswith(environ["HOOKLINE_KAFKA_TOPIC_PREFIX"])]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
async def test_streams_that_are_closed(closed: str) -> None:
    """A daemon without standard streams sends all the same."""
    taken: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        taken.append((await request.read()).decode())
        return web.json_response({"event_id": "e"}, status=201)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1"
    line = (
        f"exec {sys.executable} -m pipeline.cli send '{{}}' --count 3 --api {api} --application-id {ID} --secret s "
        f"--type a.b.c --label k=v {closed}"
    )
    process = await asyncio.create_subprocess_exec("sh", "-c", line, cwd=ROOT, env=select_environ(os.environ))
    code = await process.wait()
    await runner.cleanup()

    assert (0, 3) == (code, len(taken))


async def test_a_terminal_that_cannot_show_a_character() -> None:
    """The character is escaped; the help has an ellipsis."""
    ended = await run_hookline("send", "--help", environ={"PYTHONIOENCODING": "latin-1"})

    assert (0, "") == (ended.code, ended.err)
    assert "--application-id 0197\\u2026" in ended.out


async def test_ctrl_c(tmp_path: Path) -> None:
    """The exit code is no result, as 1 is, which says that something is lost. What was done so far is said."""

    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.json_response({"event_id": "e"}, status=201)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1"
    arguments = ("--api", api, "--application-id", ID, "--secret", "s", "--type", "a.b.c", "--label", "k=v")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline.cli", "send", "{}", "--count", "100000", "--rate", "50", *arguments),
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=select_environ(os.environ),
        # a shell's background job, as the tests may be, ignores it, and so would what it starts
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    said = [await process.stderr.readline()]  # of the progress, after some seconds
    process.send_signal(signal.SIGINT)
    said.append(await process.stderr.read())
    await runner.cleanup()

    assert 130 == await process.wait()
    assert b"of 100,000" in said[0]
    assert b"of 100,000 events were accepted, or a few more" in said[1]
    assert b"Traceback" not in said[1]


async def test_a_kafka_that_is_silent(database: str) -> None:
    """A command that waits for Kafka's client ends with a sentence."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = f"127.0.0.1:{silent.getsockname()[1]}"
        environ = {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": servers, "HOOKLINE_DATABASE_WRITE_URL": database, **KEYS}
        commands = ["ledger --json", "archive rebuild --dry-run"]
        for command, ended in (await run_all(commands, environ)).items():
            assert re.search(f"cannot reach Kafka at {servers}|Does Kafka answer", require_sentence(ended, command))
