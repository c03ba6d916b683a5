from pipeline.kafka.group.in_flight import InFlight, Limits
from pipeline.kafka.record import LogRecord

LIMITS = Limits(batch_max_records=10, in_flight_max_records=80, in_flight_max_bytes=8_000)


def take(in_flight: InFlight, count: int, size_bytes: int) -> None:
    in_flight.take([LogRecord("t", 0, offset, b"k", b"x" * size_bytes, 0) for offset in range(count)])


def test_is_full_by_records_or_by_bytes() -> None:
    """Either bound stops reading; some room must be there before it goes on."""
    for count, size_bytes in ((80, 1), (8, 1_000)):
        in_flight = InFlight(LIMITS)
        take(in_flight, count - 1, size_bytes)
        assert not in_flight.has_turned(1.0)
        take(in_flight, 1, size_bytes)

        assert in_flight.has_turned(2.0)
        assert in_flight.is_full
        assert 2.0 == in_flight.full_since_s
        in_flight.release(count // 16, size_bytes * (count // 16))
        assert not in_flight.has_turned(3.0)
        in_flight.release(count // 4, size_bytes * (count // 4))
        assert in_flight.has_turned(4.0)
        assert not in_flight.is_full
        assert in_flight.full_since_s is None


def test_a_batch_of_large_records_is_smaller() -> None:
    """One step does not go far beyond the bound; one record is always taken."""
    in_flight = InFlight(LIMITS)
    assert 10 == in_flight.batch_max_records
    take(in_flight, 1, 2_000)

    assert 3 == in_flight.batch_max_records
    take(in_flight, 4, 2_000)
    assert 1 == in_flight.batch_max_records
