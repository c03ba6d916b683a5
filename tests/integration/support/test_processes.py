import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.eventually import eventually
from tests.support.processes import HooklineUp

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))


async def test_the_report_is_read_and_nothing_is_left_afterwards(tmp_path: Path) -> None:
    """Settings given reach the processes; leaving stops all of them, and removes only a directory of its own."""
    environ = {"HOOKLINE_KAFKA_PARTITIONS": "4"}
    async with HooklineUp(data_dir=tmp_path / "data", environ=environ, command=STAND_IN) as up:
        assert up.report.api == "the api"
        assert up.report.metrics["HOOKLINE_KAFKA_PARTITIONS"] == "4"
        assert [up.pid("sleeper", 1), up.pid("sleeper", 2)] == up.report.pids["sleeper"]
        assert await up.stop() == 0
    assert not any(psutil.pid_exists(pid) for pid in (up.up_pid, *up.report.pids["sleeper"]))
    assert (tmp_path / "data").exists()

    async with HooklineUp(command=STAND_IN) as up:
        assert up.data_dir.exists()
    assert not up.data_dir.exists()


async def test_a_killed_process_is_seen_to_be_restarted() -> None:
    """One of two by its number; the other one stays."""
    async with HooklineUp(command=STAND_IN) as up:
        other = up.pid("sleeper", 1)
        killed = up.kill("sleeper", 2)
        restarted = await up.wait_restarted("sleeper", 2)

        assert killed != restarted
        assert up.report.pids["sleeper"] == [other, killed]
        assert other == up.pid("sleeper", 1)
    assert not psutil.pid_exists(restarted)


async def test_a_process_is_frozen_and_thawed() -> None:
    """Any signal can be sent."""
    async with HooklineUp(command=STAND_IN) as up:
        frozen = psutil.Process(up.send("sleeper", signal.SIGSTOP))
        await eventually(lambda: frozen.status() == psutil.STATUS_STOPPED)
        up.send("sleeper", signal.SIGCONT)
        await eventually(lambda: frozen.status() != psutil.STATUS_STOPPED)


async def test_only_own_processes_are_sent_signals() -> None:
    """A pid file that names a foreign process does no harm."""
    async with HooklineUp(command=STAND_IN) as up:
        (up.data_dir / "run" / "sleeper.1.pid").write_text(str(os.getpid()))
        with pytest.raises(LookupError, match=r"no running process of this `hookline up`"):
            up.kill("sleeper", 1)


async def test_a_process_left_behind_fails_the_stop(tmp_path: Path) -> None:
    """The process is named, and killed all the same."""
    up = HooklineUp("--leave-one", data_dir=tmp_path, command=STAND_IN)
    await up.start()
    forgotten = up.report.pids["sleeper"][1]

    with pytest.raises(AssertionError, match=rf"still running .*: {forgotten} .*time.sleep"):
        await up.stop(timeout_s=0.2)
    await eventually(lambda: not psutil.pid_exists(forgotten))


async def test_processes_below_a_killed_one_are_not_forgotten(tmp_path: Path) -> None:
    """A killed `hookline up` leaves processes, and the report names them."""
    up = HooklineUp(data_dir=tmp_path, command=STAND_IN)
    await up.start()
    os.kill(up.up_pid, signal.SIGKILL)

    with pytest.raises(AssertionError, match="still running"):
        await up.stop(timeout_s=0.2)


async def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    """The logs come along with the failure."""
    with pytest.raises(AssertionError, match="ended with code 1") as caught:
        await HooklineUp("--fail", data_dir=tmp_path, command=STAND_IN).__aenter__()

    assert "HOOKLINE_NONSENSE is not a setting" in caught.value.__notes__[0]
