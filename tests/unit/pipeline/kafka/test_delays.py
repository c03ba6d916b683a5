"""Partitions that wait until their next record is due, without Kafka."""

from pipeline.config import KafkaConfig
from pipeline.kafka.group.delays import STEP_S, Delays
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
