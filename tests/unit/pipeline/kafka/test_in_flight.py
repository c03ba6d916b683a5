from pipeline.kafka.group.in_flight import InFlight, Limits
from pipeline.kafka.record import LogRecord

LIMITS = Limits(batch_max_records=10, in_flight_max_records=80, in_flight_max_bytes=8_000)


def make_records(count: int, size_bytes: int, topic: str = "t") -> list[LogRecord]:
    return [LogRecord(topic, 0, offset, b"k", b"x" * size_bytes, 0) for offset in range(count)]


def take(in_flight: InFlight, count: int, size_bytes: int) -> None:
    in_flight.take(make_records(count, size_bytes))


def release(in_flight: InFlight, count: int, size_bytes: int, topic: str = "t") -> None:
    for record in make_records(count, size_bytes, topic):
        in_flight.release(record)


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
        release(in_flight, count // 16, size_bytes)
        assert not in_flight.has_turned(3.0)
        release(in_flight, count // 4, size_bytes)
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


def test_records_of_companions_leave_half_to_others() -> None:
    """Records or bytes of others do not count; what is released makes room."""
    for count, size_bytes in ((40, 1), (4, 1_000)):
        in_flight = InFlight(LIMITS, {"retries"})
        take(in_flight, count, size_bytes)
        assert not in_flight.has_many_companions
        in_flight.take(make_records(count - 1, size_bytes, "retries"))
        assert not in_flight.has_many_companions
        in_flight.take(make_records(1, size_bytes, "retries"))

        assert in_flight.has_many_companions
        release(in_flight, 1, size_bytes)
        assert in_flight.has_many_companions
        release(in_flight, 1, size_bytes, "retries")
        assert not in_flight.has_many_companions
