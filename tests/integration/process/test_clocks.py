"""A whole installation in which every process has another wrong clock. Each by itself, six times: tests/chaos."""

from pathlib import Path

from tests.integration.process.shifted import (
    AS_IT_SHOULD_BE,
    DAY_S,
    HOUR_S,
    LOGGED,
    WITHIN_S,
    run_installation,
)
from tests.support.eventually import eventually

WRONG_S = {"gateway": 40 * DAY_S, "matcher": -40 * DAY_S, "deliver": 40 * DAY_S, "archive": -6 * DAY_S}


async def test_clocks_that_are_all_wrong_change_nothing(
    kafka: str, postgres: str, migrated_template: str, tmp_path: Path
) -> None:
    """All is accepted, matched, delivered, tried again when due, and archived, once; each process says how wrong it is.

    What the API shows of an event that was accepted a moment ago has the right time.
    """
    async with run_installation(kafka, postgres, migrated_template, tmp_path, wrong_s=WRONG_S) as installation:
        days = installation.partitions()
        outcome = await installation.send_all_through()
        said = {name: await eventually(lambda: installation.say(name), timeout_s=WITHIN_S) for name in WRONG_S}  # noqa: B023
        logs = {name: process.log() for name, process in installation.processes.items()}
        ages_s = installation.measure_ages_s()

        assert AS_IT_SHOULD_BE == outcome
        assert all(set(before) <= set(installation.partitions()[table]) for table, before in days.items())
        assert 0 == installation.dropped()
        assert all(("ahead" if shift_s > 0 else "behind") in said[name] for name, shift_s in WRONG_S.items())
        assert all(line in logs[name] for name, line in LOGGED.items())
        assert max(abs(age_s) for age_s in ages_s) < HOUR_S
