"""A host's clock that is set back ends the process; set forward, or corrected by a little, it does not."""

import asyncio

import pytest

from pipeline import host_clock
from pipeline.host_clock import SET_BACK_MAX_S, ClockSetBackError, watch_host_clock
from tests.support.eventually import eventually

HOUR_S = 3600.0


class Offset:
    """The wall clock's offset, as a test sets it. `reads`: how often it was looked at."""

    def __init__(self) -> None:
        self.shift_s = 0.0
        self.reads = 0

    def read(self) -> float:
        self.reads += 1
        return self.shift_s

    async def set(self, shift_s: float) -> None:
        """Returns when it has been noticed."""
        self.shift_s = shift_s
        wanted = self.reads + 2
        await eventually(lambda: self.reads >= wanted)


@pytest.fixture
def offset(monkeypatch: pytest.MonkeyPatch) -> Offset:
    offset = Offset()
    monkeypatch.setattr(host_clock, "read_offset_s", offset.read)
    monkeypatch.setattr(host_clock, "LOOK_INTERVAL_S", 0.001)
    return offset


async def test_set_back_it_ends_the_process(offset: Offset) -> None:
    """The message says by how much; also when the clock was ahead before, and is right now."""
    watching = asyncio.create_task(watch_host_clock())
    for shift_s in (HOUR_S, HOUR_S - SET_BACK_MAX_S, HOUR_S - 2 * SET_BACK_MAX_S, 40 * 24 * HOUR_S):
        await offset.set(shift_s)
        assert not watching.done()
    offset.shift_s = 39 * 24 * HOUR_S
    with pytest.raises(ClockSetBackError, match="set back by 86400 s"):
        await watching
