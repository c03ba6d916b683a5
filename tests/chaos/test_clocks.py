"""The long form of tests/integration/process/test_clocks: each process with each wrong clock."""

from pathlib import Path

import pytest

from tests.integration.process.shifted import AS_IT_SHOULD_BE, PROCESSES, SHIFTS_S, run_installation, try_clock
from tests.support.kafka import report


@pytest.mark.parametrize("name", PROCESSES)
async def test_every_wrong_clock_of_every_process(
    kafka: str, postgres: str, migrated_template: str, tmp_path: Path, name: str
) -> None:
    """±1 h, ±6 d, ±40 d: nothing is lost, dropped or repeated, other tenants go on, and it is said."""
    told = {}
    async with run_installation(kafka, postgres, migrated_template, tmp_path) as installation:
        await installation.send_all_through()
        days = installation.partitions()
        for is_early in (False, True):
            for which, shift_s in SHIFTS_S.items():
                outcome, words = await try_clock(installation, name, shift_s, is_early=is_early)
                told[which, is_early] = words
                report(f"{name} {which} {'from its start' if is_early else 'set while it ran'}: {outcome}; {words}")

                assert AS_IT_SHOULD_BE == outcome, (which, is_early)

        assert all(set(before) <= set(installation.partitions()[table]) for table, before in days.items())
        assert 0 == installation.dropped()
        assert 2 * len(SHIFTS_S) == len(told)
