"""A real PostgreSQL from packages: keeps its data through everything, and refuses what would spoil it."""

import os
import pwd
import signal
import socket
from pathlib import Path

import psycopg
import pytest

from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.postgres import EmbeddedPostgres, check_user
from tests.integration.embedded.processes import is_gone
from tests.support.eventually import eventually


def _keep(server: EmbeddedPostgres, word: str) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [word])


def _kept(server: EmbeddedPostgres) -> list[str]:
    with psycopg.connect(server.url) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM kept")]


def test_a_second_start_on_another_port_keeps_rows(tmp_path: Path) -> None:
    """Rows committed before a stop are there after the next start."""
    first = EmbeddedPostgres.start(tmp_path)
    try:
        _keep(first, "committed")
    finally:
        first.stop()
    assert is_gone(first.pid)

    second = EmbeddedPostgres.start(tmp_path)
    try:
        assert first.url != second.url
        assert _kept(second) == ["committed"]
    finally:
        second.stop()


@pytest.mark.parametrize("name", ["ä ü", "it's 100% #1", "a,b"])
def test_any_name_of_a_directory_will_do(tmp_path: Path, name: str) -> None:
    """Paths are arguments, which no shell reads."""
    server = EmbeddedPostgres.start(tmp_path / name)
    try:
        _keep(server, "word")
        assert ["word"] == _kept(server)
    finally:
        server.stop()


async def test_kill_9_of_everything_keeps_rows_and_does_not_block_the_next_start(tmp_path: Path) -> None:
    """The pid file stays behind and names a process that lives, as it happens when pids are used again."""
    first = EmbeddedPostgres.start(tmp_path)
    _keep(first, "committed")
    os.kill(first.pid, signal.SIGKILL)
    first.guarded.guard.kill()
    await eventually(lambda: is_gone(first.pid))
    first.stop()
    pid_file = tmp_path / "data" / "postmaster.pid"
    pid_file.write_text("\n".join([str(os.getpid()), *pid_file.read_text().split("\n")[1:]]))

    second = EmbeddedPostgres.start(tmp_path)
    try:
        assert _kept(second) == ["committed"]
    finally:
        second.stop()


def test_it_is_durable_and_takes_enough_connections(tmp_path: Path) -> None:
    """The promises of the settings, asked from the server itself."""
    server = EmbeddedPostgres.start(tmp_path)
    try:
        with psycopg.connect(server.url) as connection:
            row = connection.execute(
                "SELECT current_setting('fsync'), current_setting('jit'), current_setting('listen_addresses'),"
                " current_setting('max_connections')::int >= 100, current_setting('password_encryption')"
            ).fetchone()

        assert row == ("on", "off", "127.0.0.1", True, "scram-sha-256")
    finally:
        server.stop()


def test_the_password_is_needed_and_only_ours(tmp_path: Path) -> None:
    """Another user of the machine reaches the port, not the data."""
    server = EmbeddedPostgres.start(tmp_path)
    try:
        assert (tmp_path / "password").stat().st_mode & 0o777 == 0o600
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.url.replace("hookline:", "hookline:not-", 1))
    finally:
        server.stop()


def test_data_of_another_version_is_refused(tmp_path: Path) -> None:
    """The message says what to do; the data stays as it was."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("17\n")

    with pytest.raises(EmbeddedError, match="holds data of PostgreSQL 17, this is 18"):
        EmbeddedPostgres.start(tmp_path)


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    """The refusal comes before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(EmbeddedError, match="for PostgreSQL is taken"):
        EmbeddedPostgres.start(tmp_path, port=other.getsockname()[1])


def test_a_user_without_a_name_is_told_what_to_do() -> None:
    """A container may run under any user id; `initdb` refuses one that /etc/passwd does not have."""
    free = next(uid for uid in range(20_000, 60_000) if uid not in {each.pw_uid for each in pwd.getpwall()})
    with pytest.raises(EmbeddedError) as refused:
        check_user(free, 0)
    check_user(0, 0)

    assert f'echo "hookline:x:{free}:0::/tmp:/usr/sbin/nologin" >> /etc/passwd' in str(refused.value)
    assert "HOOKLINE_DATABASE_WRITE_URL" in str(refused.value)
