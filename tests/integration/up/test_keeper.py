import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from pipeline.commands.up.children import LOG_MAX_BYTES, Child
from pipeline.commands.up.keeper import Keeper
from pipeline.start_error import StartError
from tests.support.eventually import eventually

STAND_IN = (sys.executable, str(Path(__file__).with_name("child_stand_in.py")))


class Bench:
    """One keeper with its process, and what it says."""

    def __init__(self, root: Path, way: str, show_line: Callable[[str], None] | None) -> None:
        self.said: list[str] = []
        self.root = root
        self.child = Child(
            "sleeper",
            2,
            command=STAND_IN,
            arguments=(way, str(root / "memory")),
            environ=os.environ | {"HOOKLINE_PROCESS_RUN_DIR": str(root)},
            run_dir=root,
            log_dir=root,
            inherited=(),
            show_line=show_line,
        )
        self.keeper = Keeper(self.child, run_dir=root, say=self.said.append)

    async def start(self) -> dict[str, str]:
        """Start, and wait until it is ready."""
        await self.keeper.start()
        return await self.keeper.wait_announced(self.child.read_announcement)

    def read_pid(self) -> int:
        """Read the pid from the file that others read."""
        return int((self.root / "sleeper.2.pid").read_text())

    async def wait_restarted(self, former_pid: int) -> int:
        """The pid of its successor."""

        def find() -> int:
            assert (self.root / "sleeper.2.pid").exists(), "it does not run"
            pid = self.read_pid()
            assert pid != former_pid, "it still is the same one"
            return pid

        return await eventually(find, timeout_s=60)


Make = Callable[..., Bench]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a bench whose process behaves in a given way; it is stopped in the end."""
    benches: list[Bench] = []

    def build(way: str, show_line: Callable[[str], None] | None = None) -> Bench:
        benches.append(Bench(tmp_path, way, show_line))
        return benches[-1]

    yield build
    for bench in benches:
        await bench.keeper.stop(0.1)


async def test_a_killed_process_is_started_again(make: Make) -> None:
    """The pid file names the new process, it announces itself anew, and one line says so."""
    bench = make("steady")
    announced = await bench.start()
    former_pid = bench.read_pid()
    os.kill(former_pid, signal.SIGKILL)
    pid = await bench.wait_restarted(former_pid)
    await eventually(bench.child.read_announcement)

    assert {"pid": str(former_pid), "name": "sleeper", "api": "here"} == announced
    assert bench.child.pid == pid
    await eventually(lambda: bench.said)
    assert [f"sleeper.2 (pid {former_pid}) died of signal 9; started again as pid {pid} after 0.2 s"] == bench.said
    assert not (bench.root / f"sleeper.{former_pid}.json").exists()


async def test_it_waits_longer_each_time(make: Make) -> None:
    """A process that dies at once must not keep the machine busy."""
    bench = make("steady")
    await bench.start()
    for _ in range(3):
        former_pid = bench.read_pid()
        os.kill(former_pid, signal.SIGKILL)
        await bench.wait_restarted(former_pid)
    await eventually(lambda: len(bench.said) == 3)

    assert ["after 0.2 s", "after 0.4 s", "after 0.8 s"] == [line[line.index("after ") :] for line in bench.said]


async def test_a_process_that_refuses_its_first_start_is_not_started_again(make: Make) -> None:
    """The process' own reason is handed on: the person need not look for it in a log."""
    bench = make("refuse")

    with pytest.raises(StartError, match=r"^sleeper cannot start: there is no log$"):
        await bench.start()
    assert [] == bench.said


async def test_a_process_that_ends_before_it_has_logs_says_why_as_well(make: Make) -> None:
    """The log is plain text then. The process is tried again, since it may have been an accident."""
    bench = make("garbled")
    await bench.keeper.start()
    await eventually(lambda: bench.said)

    assert "ended with code 1; started again" in bench.said[0]
    assert "HOOKLINE_NONSENSE is not a setting" == bench.child.read_refusal()


async def test_a_process_that_refuses_later_is_tried_again(make: Make) -> None:
    """Kafka may be away for a moment; the line has the reason."""
    bench = make("refuse-later")
    await bench.start()
    os.kill(bench.read_pid(), signal.SIGKILL)
    await eventually(lambda: len(bench.said) >= 3)

    assert "died of signal 9" in bench.said[0]
    assert "ended with code 2 (there is no log); started again" in bench.said[1]
    assert not bench.keeper.keeping.done()


async def test_a_stop_is_in_order_and_leaves_nothing(make: Make) -> None:
    """The stop is not taken for an accident; the keeper's files go with it."""
    bench = make("steady")
    await bench.start()
    pid = bench.read_pid()
    await bench.keeper.stop(20)

    assert not psutil.pid_exists(pid)
    assert [] == bench.said
    assert {"memory", "sleeper.2.log"} == {path.name for path in bench.root.iterdir()}


async def test_a_frozen_process_is_stopped_in_order(make: Make) -> None:
    """A frozen process is thawed for its stop."""
    bench = make("steady")
    await bench.start()
    process = psutil.Process(bench.read_pid())
    process.suspend()
    await eventually(lambda: process.status() == psutil.STATUS_STOPPED)
    await bench.keeper.stop(20)

    assert not process.is_running()
    assert [] == bench.said


async def test_a_process_that_does_not_stop_is_killed(make: Make) -> None:
    """The keeper reports the kill."""
    bench = make("stubborn")
    await bench.start()
    pid = bench.read_pid()
    await bench.keeper.stop(0.2)

    assert not psutil.pid_exists(pid)
    assert ["sleeper.2 did not stop within 0 s and was killed"] == bench.said


async def test_a_stop_while_it_waits_to_start_again_starts_nothing(make: Make) -> None:
    """The process is dead, and stays so."""
    bench = make("steady")
    await bench.start()
    os.kill(bench.read_pid(), signal.SIGKILL)
    await eventually(lambda: not (bench.root / "sleeper.2.pid").exists())
    await bench.keeper.stop(20)

    assert [] == bench.said
    assert 1 == len((bench.root / "memory").read_text())


async def test_lines_are_shown_and_logged(make: Make) -> None:
    """A person sees them at once; they are in the log as well."""
    seen: list[str] = []
    bench = make("chatty", seen.append)
    await bench.start()
    await eventually(lambda: len(seen) == 2)

    assert ["one", "two"] == seen
    assert ["one", "two"] == (bench.root / "sleeper.2.log").read_text().splitlines()


async def test_lines_that_cannot_be_shown_end_the_keeping(make: Make) -> None:
    """Unread, they would fill the pipe and the process would stand still; the reason reaches `hookline up`."""

    def fail(line: str) -> None:
        raise ZeroDivisionError(line)

    bench = make("chatty", fail)
    await bench.keeper.start()

    with pytest.raises(ZeroDivisionError, match="one"):
        await bench.keeper.keeping
    await bench.keeper.stop(20)
    assert [] == bench.said


async def test_a_long_log_is_put_aside(make: Make) -> None:
    """The log before is kept, no more, so that the disk does not fill."""
    bench = make("refuse")
    log = bench.root / "sleeper.2.log"
    with log.open("wb") as file:
        file.truncate(LOG_MAX_BYTES + 1)
    with pytest.raises(StartError):
        await bench.start()

    assert LOG_MAX_BYTES + 1 == (bench.root / "sleeper.2.log.1").stat().st_size
    assert log.stat().st_size < 1000
    assert 0o600 == log.stat().st_mode & 0o777


async def test_a_process_whose_pid_cannot_be_written_is_started_once(make: Make) -> None:
    """A process on a full disk runs without its file; a second one would run beside it, kept by none."""
    bench = make("steady")
    await bench.start()
    killed = bench.read_pid()
    (bench.root / "sleeper.2.partial").mkdir()
    os.kill(killed, signal.SIGKILL)

    await eventually(lambda: len(bench.said) == 2, timeout_s=60)
    restarted = bench.child.pid

    assert [
        f"sleeper.2 runs as pid {restarted}; cannot write {bench.root / 'sleeper.2.pid'}: Is a directory",
        f"sleeper.2 (pid {killed}) died of signal 9; started again as pid {restarted} after 0.2 s",
    ] == bench.said
    await eventually(lambda: len((bench.root / "memory").read_text()) == 2)
    assert bench.child.pid == restarted


async def test_lines_are_shown_when_the_log_takes_none(make: Make) -> None:
    """The receiver goes on when the disk is full, and `hookline up` with it."""
    seen: list[str] = []
    bench = make("chatty", seen.append)
    (bench.root / "sleeper.2.log").symlink_to("/dev/full")
    await bench.start()
    await eventually(lambda: len(seen) == 2)

    assert ["one", "two"] == seen
    assert not bench.keeper.keeping.done()
