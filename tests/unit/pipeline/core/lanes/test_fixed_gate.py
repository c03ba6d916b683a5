from pipeline.core.lanes.fixed_gate import FixedGate


def test_a_fixed_number_at_once() -> None:
    """As many as given may be open, any number may wait, and nothing opens by time."""
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
