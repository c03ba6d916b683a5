"""The promise that matters: whatever dies, what was accepted is delivered and archived."""

from pathlib import Path

from tests.e2e.killing import kill_everything_once


async def test_nothing_accepted_is_lost_when_everything_is_killed_once(tmp_path: Path) -> None:
    """Each process is killed once during 4,000 events; the long form is in tests/chaos."""
    await kill_everything_once(tmp_path, 4_000)
