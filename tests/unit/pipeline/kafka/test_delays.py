"""Partitions that wait until their next record is due, without Kafka."""

from pipeline.config import KafkaConfig
from pipeline.kafka.group.delays import STEP_S, Delays
from pipeline.kafka.record import LogRecord
from pipeline.topics import declare_topics_for

TOPICS = declare_topics_for(KafkaConfig(bootstrap_servers="127.0.0.1:1"))
PLACE, OTHER = (TOPICS.retries[0].name, 0), (TOPICS.retries[0].name, 1)


def test_partitions_wake_in_the_order_of_their_times() -> None:
    """Each at its own time, whichever was held first."""
    delays = Delays(TOPICS.retries)
    delays.hold(PLACE, 100.0, 9_000_000)
    delays.hold(OTHER, 100.0, 2_000_000)

    assert 102.0 == delays.next_s
    assert [] == delays.take_due(101.9)
    assert [OTHER] == delays.take_due(102.0)
    assert OTHER not in delays
    assert PLACE in delays
    assert [PLACE] == delays.take_due(200.0)
    assert delays.next_s is None


def test_a_partition_that_went_away_and_came_back_keeps_its_new_time() -> None:
    """The wake that was planned before it went away would have it read too early, again and again."""
    delays = Delays(TOPICS.retries)
    delays.hold(PLACE, 100.0, 1_000_000)
    delays.forget(PLACE)
    assert PLACE not in delays
    delays.hold(PLACE, 100.5, 5_000_000)

    assert [] == delays.take_due(101.0)
    assert PLACE in delays
    assert [PLACE] == delays.take_due(105.5)


def test_a_record_that_is_nearly_due_costs_one_look() -> None:
    """Every look is a seek and a fetch: without a least wait, the last milliseconds would be spent with them."""
    delays = Delays(TOPICS.retries)
    delays.hold(PLACE, 100.0, 1)

    assert 100.0 + STEP_S == delays.next_s


def test_only_delayed_topics_have_a_delay() -> None:
    """A record of any other topic is handed over as soon as it is read."""
    delays = Delays(TOPICS.retries)

    assert {topic.name: topic.delay_s * 1_000_000 for topic in TOPICS.retries if topic.delay_s} == delays.by_topic_us
    assert TOPICS.deliveries.name not in delays.by_topic_us


NOW_US = 1_795_500_460_000_000
HOUR_US = 3_600_000_000


def make_record(timestamp_us: int, *, offset: int = 0) -> LogRecord:
    topic, partition = PLACE
    return LogRecord(topic, partition, offset, b"key", b"value", timestamp_us)


def test_a_record_waits_for_its_delay_after_it_was_appended() -> None:
    """The log's clock decides, and a wrong one makes nothing wait for longer than the delay."""
    delays, delay_us = Delays(TOPICS.retries), TOPICS.retries[0].delay_s * 1_000_000

    assert delay_us == delays.find_wait_us(make_record(NOW_US), NOW_US, 100.0)
    assert -1 == delays.find_wait_us(make_record(NOW_US - delay_us - 1), NOW_US, 100.0)
    assert delay_us == delays.find_wait_us(make_record(NOW_US + HOUR_US), NOW_US, 100.0)


def test_records_of_a_time_to_come_hold_up_no_others() -> None:
    """A broker's clock was an hour ahead for a while: what was appended then waits no longer than it would have."""
    delays, delay_us = Delays(TOPICS.retries), TOPICS.retries[0].delay_s * 1_000_000
    first, second = make_record(NOW_US + HOUR_US), make_record(NOW_US + HOUR_US + 300_000, offset=1)
    waits_us = [delays.find_wait_us(first, NOW_US, 100.0)]
    after_s = 100.0 + delay_us / 1_000_000
    waits_us += [delays.find_wait_us(each, NOW_US + delay_us, after_s) for each in (first, second)]
    # the clock is right again
    waits_us.append(delays.find_wait_us(make_record(NOW_US + 500_000, offset=2), NOW_US + delay_us, after_s))

    assert [delay_us, 0, 300_000, 500_000] == waits_us


def test_a_clock_that_goes_back_twice_begins_anew() -> None:
    """A record with a time before that of the one ahead of it is waited for by itself."""
    delays, delay_us = Delays(TOPICS.retries), TOPICS.retries[0].delay_s * 1_000_000
    delays.find_wait_us(make_record(NOW_US + 2 * HOUR_US), NOW_US, 100.0)

    assert delay_us == delays.find_wait_us(make_record(NOW_US + HOUR_US, offset=1), NOW_US, 101.0)
    assert delay_us - 1_000_000 == delays.find_wait_us(make_record(NOW_US + HOUR_US, offset=1), NOW_US, 102.0)
