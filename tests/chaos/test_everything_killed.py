"""Every process is killed once under load; the short form is in tests/e2e."""

from pathlib import Path

import pytest

from tests.e2e.killing import kill_everything_once


@pytest.mark.parametrize(
    "settings", [{}, {"MATCHER_PAYLOAD_INLINE_MAX_BYTES": "0"}], ids=["payloads in deliveries", "claim checks"]
)
async def test_nothing_accepted_is_lost_when_everything_is_killed_once(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    """Each process is killed once during 10,000 events, whose payloads deliveries carry or only name."""
    await kill_everything_once(tmp_path, 10_000, **settings)
