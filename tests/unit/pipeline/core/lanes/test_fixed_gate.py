from pipeline.core.lanes.fixed_gate import FixedGate


def test_a_fixed_number_at_once() -> None:
    """The gate opens for the given number, lets any number wait, and opens nothing by time."""
    gate = FixedGate(2)
    rooms = [gate.room(0)]
    for tell in (gate.start, gate.start, gate.end):
        tell(0)
        rooms.append(gate.room(0))

    assert [2, 1, 0, 1] == rooms
    assert gate.accepts(10**9, 0)
    assert not gate.is_long(10**9)
    assert not gate.is_slow(10**18)
    assert gate.wakes_at_us(0) is None


def test_starts_are_apart() -> None:
    """A gate that gathers has no room before its time, says when that is, and asks anew at each start."""
    paces_us = iter([100, 0])
    gate = FixedGate(1, apart_us=lambda: next(paces_us))
    gate.start(1000)
    gate.end(1010)

    assert (0, 1100) == (gate.room(1099), gate.wakes_at_us(1099))
    assert (1, None) == (gate.room(1100), gate.wakes_at_us(1100))
    gate.start(1100)
    gate.end(1100)
    assert (1, None) == (gate.room(1100), gate.wakes_at_us(1100))
