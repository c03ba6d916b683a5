"""Where `hookline up` keeps its state: the files, and the lock that lets one `hookline up` at a time use them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.embedded.data_dir import check_version, lock_directory, make_directory, write_private
from pipeline.embedded.progress import Progress, keep_silent

# Raised when the layout changes in a way that an older or a newer Hookline cannot read.
LAYOUT_VERSION = "1"
# A command that looks whether one runs here holds the lock for a moment.
LOOKED_AT_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDirectory:
    """`run_lock`: a file descriptor that every process we start inherits; locked until the last of them is gone."""

    root: Path
    is_new: bool
    run_lock: int

    @property
    def kafka(self) -> Path:
        return self.root / "kafka"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return run_dir(self.root)

    @property
    def sealing_key_file(self) -> Path:
        return self.root / "secrets" / "sealing.key"

    @property
    def master_key_file(self) -> Path:
        return self.root / "secrets" / "master.key"

    @property
    def receiver_secret_file(self) -> Path:
        return self.root / "secrets" / "receiver.secret"

    @property
    def demo_file(self) -> Path:
        return self.root / "demo.json"

    @property
    def ports_file(self) -> Path:
        return self.root / "ports.json"

    def mark(self) -> None:
        """Say which layout this is. Done when the secrets are there: until then a start is a first start."""
        write_private(self.root / "version", LAYOUT_VERSION + "\n")


@contextmanager
def open_data_directory(path: Path, progress: Progress) -> Iterator[DataDirectory]:
    """Make or take the directory and hold it. Raises `EmbeddedError`.

    Another `hookline up` in it is an error at once. After a kill -9 its processes may still be ending: that is waited
    for.
    """
    root = make_directory(path)
    with lock_directory(root, "hookline up", keep_silent, timeout_s=LOOKED_AT_S):
        check_version(root / "version", LAYOUT_VERSION, "layout")
        for name in ("kafka", "postgres", "logs", "run", "secrets"):
            make_directory(root / name)
        with lock_directory(run_dir(root), "earlier hookline", progress) as run_lock:
            for stale in [*run_dir(root).glob("*.pid"), *run_dir(root).glob("*.json")]:
                stale.unlink()
            yield DataDirectory(root=root, is_new=not (root / "version").exists(), run_lock=run_lock)


def run_dir(root: Path) -> Path:
    """The directory of pids and addresses of running processes."""
    return root / "run"
