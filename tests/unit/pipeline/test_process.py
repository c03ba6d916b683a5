import asyncio
import json
import os
from pathlib import Path

import structlog

from pipeline.config import ProcessConfig, Settings
from pipeline.metrics import Metrics
from pipeline.process import Health, Process


def make_process(run_dir: Path | None = None) -> Process:
    return Process(
        name="matcher",
        settings=Settings(process=ProcessConfig(run_dir=run_dir)),
        metrics=Metrics("matcher"),
        log=structlog.get_logger(),
    )


def test_health_names_what_is_wrong() -> None:
    """Only the checks that are not well, each with its sentence."""
    health = Health()
    health.ready |= {"good": lambda: None, "bad": lambda: "it hangs"}

    assert {"bad": "it hangs"} == health.problems(health.ready)
    assert {} == health.problems(health.alive)


def test_a_process_that_is_ready_says_where_it_is(tmp_path: Path) -> None:
    """The file appears whole, under a name that tells two processes of one kind apart."""
    process = make_process(tmp_path)
    process.addresses["metrics"] = "http://127.0.0.1:1/metrics"
    process.announce_ready(api="http://127.0.0.1:2")
    (announced,) = tmp_path.iterdir()

    assert f"matcher.{os.getpid()}.json" == announced.name
    assert json.loads(announced.read_text()) == {
        "pid": os.getpid(),
        "name": "matcher",
        "metrics": "http://127.0.0.1:1/metrics",
        "api": "http://127.0.0.1:2",
    }


def test_nothing_is_written_without_a_folder_for_it() -> None:
    """The parent process asks for the file and reads it."""
    process = make_process()
    process.announce_ready(api="http://127.0.0.1:2")

    assert {"api": "http://127.0.0.1:2"} == process.addresses


async def test_a_process_is_not_stopping_when_it_starts() -> None:
    """`main` returns when this is set, and not before."""
    process = make_process()

    assert not process.stopping.is_set()
    assert isinstance(process.stopping, asyncio.Event)
