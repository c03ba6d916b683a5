"""Commands find the `hookline up` that runs: each from another directory, without a setting."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.command_lines import COMMANDS
from tests.support.commands import Finished, run_hookline
from tests.support.eventually import eventually
from tests.support.processes import HooklineUp, select_environ

ID = "0190f1a2-0000-7000-8000-000000000001"
# The command line, its exit code, and what it says on standard output or as its last line.
READING = {
    "ledger --json": (0, '"is_balanced": true'),
    "topics plan": (0, "hookline.events"),
    "topics plan --json": (0, '"topic": "hookline.events"'),
    "topics grow 8": (0, "nothing to do: HOOKLINE_KAFKA_PARTITIONS is 8"),
    "dead list --json": (0, '"letters": []'),
    f"dead show {ID}": (1, f"there is no dead letter {ID}"),
    "dead redrive --everything --dry-run --json": (0, '"sent": 0'),
    "keys list": (0, "seals"),
    "keys list --json": (0, '"state": "seals"'),
    "keys rotate --dry-run --json": (0, '"applications": 0'),
    "migrate --dry-run": (0, "the database is up to date"),
    "partitions list --json": (0, "[]"),
    f"partitions isolate {ID} --dry-run": (1, f"there is no organization {ID}"),
    "archive detached --json": (0, "[]"),
    "archive restore 2026-01-01 --dry-run": (1, "2026-01-01 is not among the days taken out"),
    "archive rebuild --dry-run": (0, "missing tables: none"),
    "archive rebuild --dry-run --json": (0, '"missing_tables": []'),
    "db report --json": (0, '"version"'),
    "doctor --json": (0, '"differences": []'),
    "backup check --json": (0, '"is_whole": true'),
    "send": (0, "-"),
    "send --kafka": (0, "-"),
    "send --count 2 --json": (0, '"accepted": 2'),
    "trigger shop.order.paid": (0, "-"),
}
KAFKA, POSTGRES = "Kafka at {kafka}", "PostgreSQL at {postgres}"
CHANGING = {
    "topics apply": (0, "all topics are as declared", KAFKA),
    f"topics producer {ID}": (2, f"there is no application {ID}", KAFKA),
    f"dead redrive {ID}": (1, "there is no such letter", f"{KAFKA} and {POSTGRES}"),
    "keys rotate": (0, "sealed 0 secrets", f"{KAFKA} and {POSTGRES}"),
    "migrate": (0, "the database is up to date", POSTGRES),
    f"partitions isolate {ID}": (1, f"there is no organization {ID}", POSTGRES),
    f"partitions join {ID}": (1, f"{ID} has no partitions of its own", POSTGRES),
    "archive restore 2026-01-01": (1, "2026-01-01 is not among the days taken out", POSTGRES),
    "doctor --heal": (0, "nothing differs", KAFKA),
}
# Those that join one only if it is named, or that work on none.
OTHERS = {
    *("gateway", "matcher", "deliver", "archive", "bench", "listen", "archive rebuild"),
    *("up", "profiles", "capacity", "schemas check", "settings", "keys new"),
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop") / ".hookline"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(data_dir: Path) -> AsyncIterator[HooklineUp]:
    """The one `hookline up` of these tests, with a setting that commands have to know."""
    environ = {"HOOKLINE_KAFKA_TOPIC_PREFIX": "hookline.", "XDG_STATE_HOME": str(data_dir.parent / "state")}
    async with HooklineUp("--profile", "shop", data_dir=data_dir, environ=environ) as running:
        yield running


async def run(up: HooklineUp, cwd: Path, command: str, **environ: str) -> Finished:
    """Run a command from a directory that knows nothing."""
    state = {"XDG_STATE_HOME": str(up.data_dir.parent / "state")}
    return await run_hookline(*command.split(), environ=state | environ, cwd=cwd)


def test_every_command_is_looked_at() -> None:
    """A new command is in one of the lists."""
    listed = OTHERS | {
        word for word in COMMANDS if any(f"{each} ".startswith(f"{word} ") for each in (*READING, *CHANGING))
    }

    assert set(COMMANDS) == listed


async def run_all(up: HooklineUp, cwd: Path, commands: Iterable[str]) -> dict[str, Finished]:
    """Run each command, two at a time."""
    room = asyncio.Semaphore(2)

    async def run_one(command: str) -> Finished:
        async with room:
            return await run(up, cwd, command)

    commands = list(commands)
    return dict(zip(commands, await asyncio.gather(*map(run_one, commands)), strict=True))


@pytest.mark.asyncio(loop_scope="module")
async def test_commands_find_the_one_that_runs(up: HooklineUp, tmp_path: Path) -> None:
    """Each says which it uses, since its directory does not; results are alone on standard output."""
    using = f"using the `hookline up` in {up.data_dir} (profile shop)"
    for command, ended in (await run_all(up, tmp_path, READING)).items():
        code, said = READING[command]
        assert (code, using) == (ended.code, ended.err.partition("\n")[0]), command
        assert said in (ended.out if code == 0 else ended.err), command
        if "--json" in command:
            json.loads(ended.out)


@pytest.mark.asyncio(loop_scope="module")
async def test_commands_say_what_they_change(up: HooklineUp, tmp_path: Path) -> None:
    """The line is there before anything is done, and has no password."""
    postgres = up.report.database_url.rpartition("@")[2].replace("/", ", database ")
    for command, ended in (await run_all(up, tmp_path, CHANGING)).items():
        code, said, places = CHANGING[command]
        where = places.format(kafka=up.report.kafka, postgres=postgres)
        assert f"changing the `hookline up` in {up.data_dir}: {where}" == ended.err.partition("\n")[0], command
        assert code == ended.code, ended.err
        assert said in ended.out + ended.err, command


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_set_wins(up: HooklineUp, tmp_path: Path) -> None:
    """Nothing of the one that runs is mixed in, not even in its own directory; its name puts it first again."""
    nowhere = {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    for cwd in (tmp_path, up.data_dir.parent):
        ended = await run(up, cwd, "ledger --json", **nowhere)
        assert 2 == ended.code
        assert [f"hookline: {json.loads(ended.out)['error']}"] == ended.err.splitlines()
        assert "cannot reach Kafka at 127.0.0.1:1: it refuses connections" in ended.err
    named = await run(up, tmp_path, "ledger --json --profile shop", **nowhere)

    assert 0 == named.code
    assert "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS is not used: the command line names the `hookline up` in" in named.err


@pytest.mark.asyncio(loop_scope="module")
async def test_its_own_directory_need_not_be_said(up: HooklineUp) -> None:
    """Nothing is said in the directory of a `hookline up`, and below it."""
    (up.data_dir.parent / "src").mkdir(exist_ok=True)
    for cwd in (up.data_dir.parent, up.data_dir.parent / "src"):
        assert (0, "") == ((ended := await run(up, cwd, "dead list")).code, ended.err)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_list_and_the_completion(up: HooklineUp, tmp_path: Path) -> None:
    """A profile that runs is offered; no secret is shown."""
    listed = await run(up, tmp_path, "profiles --json")
    completion = {"_HOOKLINE_COMPLETE": "bash_complete", "COMP_WORDS": "hookline ledger --profile s", "COMP_CWORD": "3"}
    offered = await run(up, tmp_path, "", **completion)
    shown = await run(up, tmp_path, "settings --profile shop --json")

    assert [{"profile": "shop", "api": up.report.api, "data_dir": str(up.data_dir)}] == json.loads(listed.out)
    assert "plain,shop" == offered.out.strip()
    values = {row["variable"]: row["value"] for row in json.loads(shown.out)}
    assert up.report.kafka == values["HOOKLINE_KAFKA_BOOTSTRAP_SERVERS"]
    assert up.report.database_url not in listed.out + shown.out


@contextlib.asynccontextmanager
async def start(up: HooklineUp, cwd: Path, command: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """Start a process as a person does; its standard error is a file. It is killed in the end."""
    said = cwd / "err"
    with said.open("wb") as err, (cwd / "out").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pipeline.cli", *command.split()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=cwd,
            env=select_environ(os.environ) | {"XDG_STATE_HOME": str(up.data_dir.parent / "state")},
        )
    try:
        yield process, said
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ["gateway", "matcher", "deliver", "archive"])
async def test_a_process_joins_none_that_was_not_named(up: HooklineUp, tmp_path: Path, name: str) -> None:
    """A process says how, and goes on with its settings."""
    async with start(up, tmp_path, name) as (_, said):
        line = await eventually(lambda: read_line(said), timeout_s=60)

    assert "not joining the `hookline up` that runs: --profile shop would" == line
    assert up.report.kafka not in said.read_text() + (tmp_path / "out").read_text()


def read_line(file: Path) -> str:
    line = file.read_text().partition("\n")[0]
    assert line
    return line


@pytest.mark.asyncio(loop_scope="module")
async def test_a_process_that_is_told_to_joins(up: HooklineUp, tmp_path: Path) -> None:
    """A second matcher has the settings of the first, the sealing key and all."""
    async with start(up, tmp_path, "deliver --profile shop") as (_, said):

        def find_ready() -> bool:
            return '"ready"' in said.read_text() + (tmp_path / "out").read_text()

        assert f"joining the `hookline up` in {up.data_dir}" == await eventually(lambda: read_line(said), timeout_s=60)
        await eventually(find_ready, timeout_s=60)


@pytest.mark.asyncio(loop_scope="module")
async def test_listen_verifies_with_the_secrets_of_the_one_that_runs(up: HooklineUp, tmp_path: Path) -> None:
    """A subscription that is made later is among them: its first delivery is verified."""
    from pipeline.client import Client

    async with start(up, tmp_path, "listen --port 0") as (_, said):

        def find_url() -> str:
            found = [line for line in said.read_text().splitlines() if line.startswith("listening on ")]
            assert found, said.read_text()
            return found[0].removeprefix("listening on ").partition(";")[0]

        url = await eventually(find_url, timeout_s=60)
        async with Client(up.report.api, up.report.application_secret) as client:
            await client.post_subscriptions(
                {
                    "application_id": up.report.application_id,
                    "is_enabled": True,
                    "event_types": ["shop.order.shipped"],
                    "labels": {"environment": "demo"},
                    "target": {"type": "http", "method": "POST", "url": url, "headers": {}},
                }
            )

        async def see_verified() -> bool:
            await run(up, tmp_path, "send --type shop.order.shipped")
            return "signature ok (hook0, standard)" in (tmp_path / "out").read_text()

        await eventually(see_verified, timeout_s=60)


@pytest.mark.asyncio(loop_scope="module")
async def test_one_that_was_killed_is_one_sentence(up: HooklineUp, tmp_path: Path) -> None:
    """The last of these tests: nothing is asked of an address that another program may have by now."""
    os.kill(up.up_pid, signal.SIGKILL)

    async def see_gone() -> Finished:
        ended = await run(up, tmp_path, "ledger --json")
        assert 2 == ended.code
        return ended

    ended = await eventually(see_gone, timeout_s=60)
    assert json.loads(ended.out)["error"].startswith(
        f"the `hookline up` in {up.data_dir} ended without tidying up (it was killed, or the machine restarted): start"
    )
    for command in ("topics apply", "send", "dead list --profile shop"):
        again = await run(up, tmp_path, command)
        assert (2, 1) == (again.code, len(again.err.splitlines())), again.err
        assert "ended without tidying up" in again.err
