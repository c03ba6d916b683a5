"""Every process is killed once under load; the short form is in tests/e2e."""

from pathlib import Path

from tests.e2e.killing import kill_everything_once


async def test_nothing_accepted_is_lost_when_everything_is_killed_once(tmp_path: Path) -> None:
    """Each process is killed once during 10,000 events."""
    await kill_everything_once(tmp_path, 10_000)
