import asyncio
import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.commands.up.keeper import Keeper
from pipeline.commands.up.services import Service
from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.guarded import Guarded, start_guarded
from tests.integration.embedded.processes import is_gone
from tests.support.eventually import eventually


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleeper:
    """A guarded program in place of Kafka."""

    guarded: Guarded

    @property
    def pid(self) -> int:
        return self.guarded.pid

    def is_alive(self) -> bool:
        return self.guarded.is_alive()

    def stop(self, timeout_s: float = 5.0) -> None:
        self.guarded.stop(timeout_s)


@dataclass(slots=True)
class Launcher:
    """Starts sleepers; fails as often as it is told to; waits when it is told to."""

    root: Path
    failures: int = 0
    may_start: threading.Event = field(default_factory=threading.Event)
    started: list[Sleeper] = field(default_factory=list)

    def launch(self) -> Sleeper:
        assert self.may_start.wait(20)
        if self.started and self.failures:
            self.failures -= 1
            raise EmbeddedError("its port is taken")
        with (self.root / "lock").open("w") as lock:
            guarded = start_guarded(
                "sleeper",
                ["/bin/sleep", "600"],
                stop_signal=signal.SIGTERM,
                grace_s=5.0,
                log_file=self.root / "log",
                lock=lock.fileno(),
            )
        self.started.append(Sleeper(guarded=guarded))
        return self.started[-1]


async def test_a_killed_service_is_started_again(tmp_path: Path) -> None:
    """The keeper restarts it like one of our own processes; also when that does not succeed at once."""
    said: list[str] = []
    launcher = Launcher(tmp_path, failures=1)
    launcher.may_start.set()
    keeper = Keeper(Service("kafka", launcher.launch), run_dir=tmp_path, say=said.append)
    await keeper.start()
    keeper.settle()
    (first,) = launcher.started
    os.kill(first.pid, signal.SIGKILL)
    await eventually(lambda: len(said) == 2)
    _, second = launcher.started

    assert [
        f"kafka (pid {first.pid}) died of signal 9; it cannot be started again: its port is taken; next try in 0.4 s",
        f"kafka (pid {first.pid}) died of signal 9; started again as pid {second.pid} after 0.4 s",
    ] == said
    assert f"{second.pid}\n" == (tmp_path / "kafka.1.pid").read_text()
    await keeper.stop(5)
    assert is_gone(second.pid)


async def test_a_stop_during_the_start_waits_for_it_and_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in those seconds: the thread that starts it cannot be stopped, so what it started is."""
    launcher = Launcher(tmp_path)
    keeper = Keeper(Service("kafka", launcher.launch), run_dir=tmp_path, say=lambda _: None)
    starting = asyncio.create_task(keeper.start())
    await asyncio.sleep(0)  # let it begin
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    stopping = asyncio.create_task(keeper.stop(5))
    launcher.may_start.set()
    await stopping

    assert [True] == [is_gone(sleeper.pid) for sleeper in launcher.started]
