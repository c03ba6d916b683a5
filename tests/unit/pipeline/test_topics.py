import re
from dataclasses import fields

import pytest

import schemas
from pipeline.config import KafkaConfig
from pipeline.topics import DAY_S, RETRY_TIERS_S, Topic, Topics, declare_topics, declare_topics_for

TOPICS = declare_topics(prefix="acme.", partitions=6, event_retention_s=7 * DAY_S)
ALL = TOPICS.all()
RECORD_MAX_BYTES = 4 * 1024 * 1024


def test_all_are_listed() -> None:
    """Topics that `topics apply` creates and that a process checks are all topics there are."""
    declared: list[Topic] = []
    for field in fields(Topics):
        value = getattr(TOPICS, field.name)
        declared += [value] if isinstance(value, Topic) else value

    assert sorted(topic.name for topic in declared) == sorted(topic.name for topic in ALL)
    assert len({topic.name for topic in ALL}) == len(ALL)


def test_the_settings_say_how_topics_are_called_and_cut() -> None:
    """Prefix, partitions and retention are settings: every process reads the same topics out of them."""
    config = KafkaConfig(topic_prefix="acme.", partitions=6, event_retention_s=7 * DAY_S)

    assert TOPICS == declare_topics_for(config)


@pytest.mark.parametrize("topic", ALL, ids=[topic.name for topic in ALL])
def test_names_are_good_for_kafka_and_for_metrics(topic: Topic) -> None:
    """The prefix in front, and never `.` beside `_`, which Kafka's own metrics cannot tell apart."""
    assert re.fullmatch(r"acme\.[a-z0-9.-]{1,100}", topic.name)


@pytest.mark.parametrize("topic", ALL, ids=[topic.name for topic in ALL])
def test_a_topic_holds_known_records_under_a_key_they_have(topic: Topic) -> None:
    """The key is a field of the record, so that every reader can compute the record's partition."""
    assert topic.records
    assert set(topic.records) <= set(schemas.NAMES)
    # about no application and no subscription, or about several of one partition
    for record in set(topic.records) - {"probe", "republish_asked", "open_requests", "bundle"}:
        assert topic.key in {field["name"] for field in schemas.codec.NEWEST[record].schema["fields"]}


def test_topics_that_meet_in_one_process_have_the_same_partitions() -> None:
    """Everything about one application, and everything about one subscription, shares a partition number."""
    assert {6} == {topic.partitions for topic in ALL}
    by_key = {topic.name.removeprefix("acme."): topic.key for topic in ALL}
    assert {"application_id"} == {by_key[name] for name in ("events", "routes", "dispatches")}
    retries = [name for name in by_key if name.startswith("retries.")]
    assert {"subscription_id"} == {by_key[name] for name in ("deliveries", "attempts", "endpoints", *retries)}


def test_retry_tiers_rise_and_say_their_delay() -> None:
    """One topic a delay, shortest first, named by it."""
    assert list(RETRY_TIERS_S) == sorted(RETRY_TIERS_S) == [topic.delay_s for topic in TOPICS.retries]
    assert ["1s", "10s", "1m", "10m", "1h"] == [topic.name.rpartition(".")[2] for topic in TOPICS.retries]
    assert {0} == {topic.delay_s for topic in ALL if topic not in TOPICS.retries}


def test_timestamps_are_the_brokers() -> None:
    """No clock of ours can make a broker refuse a record of any topic, or decide a day, a delay or what expires."""
    configs = [topic.config(record_max_bytes=RECORD_MAX_BYTES) for topic in ALL]

    assert {"LogAppendTime"} == {config["message.timestamp.type"] for config in configs}


def test_configuration_is_compacted_and_history_expires() -> None:
    """The newest routes and endpoints are kept for ever; events as long as the setting says, the dead a month."""
    configs = {topic.name: topic.config(record_max_bytes=RECORD_MAX_BYTES) for topic in ALL}
    compacted = {name for name, config in configs.items() if config["cleanup.policy"] == "compact"}
    retained_s = {
        name: int(config["retention.ms"]) // 1000 for name, config in configs.items() if name not in compacted
    }

    assert {"acme.routes", "acme.endpoints"} <= compacted
    assert 7 * DAY_S == retained_s["acme.events"]
    assert 30 * DAY_S == retained_s["acme.dead"]
    # longer than the longest wait of a retry
    assert all(retained_s[topic.name] > topic.delay_s for topic in TOPICS.retries)


def test_old_routes_stay_a_day() -> None:
    """A matcher that restarts looks up which routes applied to the events that are still waiting."""
    config = TOPICS.routes.config(record_max_bytes=RECORD_MAX_BYTES)

    assert DAY_S * 1000 == int(config["min.compaction.lag.ms"])


@pytest.mark.parametrize("topic", ALL, ids=[topic.name for topic in ALL])
def test_every_topic_takes_the_largest_record(topic: Topic) -> None:
    """An accepted record must pass all the way."""
    assert RECORD_MAX_BYTES == int(topic.config(record_max_bytes=RECORD_MAX_BYTES)["max.message.bytes"])
