"""Data directories like those of a `hookline up`, with and without one that runs, for tests without processes."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.commands.installation.running import add_entry, publish_running
from pipeline.commands.up.report import Report, write_report


def leave_files(root: Path, environ: Mapping[str, str], *, profile: str = "", is_listed: bool = True) -> dict[str, str]:
    """Write what one leaves; the settings that it hands on."""
    settings = {
        "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": f"{root.parent.name}:9092",
        "HOOKLINE_DATABASE_WRITE_URL": f"postgresql://hookline:hush@{root.parent.name}/hookline",
        "HOOKLINE_SEALING_KEY_FILE": str(root / "secrets" / "sealing.key"),
    }
    (root / "run").mkdir(parents=True, exist_ok=True)
    (root / "lock").touch(mode=0o600)
    publish_running(root, settings)
    name = profile or root.parent.name
    if is_listed:
        add_entry(environ, root, name)
    report = Report(
        api="http://127.0.0.1:1/api/v1",
        master_api_key="key",
        kafka=settings["HOOKLINE_KAFKA_BOOTSTRAP_SERVERS"],
        database_url=settings["HOOKLINE_DATABASE_WRITE_URL"],
        metrics={},
        pids={},
        profile=name,
        data_dir=str(root),
    )
    write_report(root, report)
    return settings


@contextmanager
def hold(root: Path) -> Iterator[None]:
    """Hold the lock, as one that runs does."""
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        os.close(descriptor)
