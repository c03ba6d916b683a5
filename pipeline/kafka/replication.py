"""Is what is acknowledged safe when a broker is lost, and taken while one is away? For `hookline topics`.

An installation works without it, on one broker for example: nothing here is a reason to refuse, or for health.
"""

from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import TopicMetadata

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import ANSWER_TIMEOUT_S, MIN_IN_SYNC, describe_settings
from pipeline.kafka.client_errors import describe_failure
from pipeline.kafka.options import open_admin
from pipeline.start_error import StartError
from pipeline.topics import Topic

UNCLEAN = "unclean.leader.election.enable"
OFFSETS = "__consumer_offsets"
SEE = "see docs/operating.md"


def find_risks(config: KafkaConfig, topics: Sequence[Topic]) -> list[tuple[str, str]]:
    """Topics, and what may come of a broker that is lost or away. Blocks. Raises `StartError` without an answer."""
    admin = open_admin(config)
    try:
        metadata = admin.list_topics(timeout=ANSWER_TIMEOUT_S)
    except KafkaException as error:
        raise StartError(describe_failure("ask where topics have their replicas", error)) from error
    brokers = len(metadata.brokers)
    present = [topic for topic in topics if topic.name in metadata.topics]
    risks = [
        (topic.name, risk)
        for topic, settings in describe_settings(admin, present).items()
        for risk in list_risks(count_replicas(metadata.topics[topic.name]), settings, brokers=brokers)
    ]
    risks += [
        (name, risk)
        for name in (*(topic.name for topic in present), OFFSETS)
        if name in metadata.topics and (risk := describe_leaderless(name, list_leaders(metadata.topics[name])))
    ]
    if OFFSETS in metadata.topics:
        risks += [(OFFSETS, risk) for risk in list_risks(count_replicas(metadata.topics[OFFSETS]), {}, brokers=brokers)]
    return risks


def describe_leaderless(name: str, leaders: Sequence[int]) -> str | None:
    """Say what stands still because partitions have no leader; None: all have one."""
    leaderless = sum(leader < 0 for leader in leaders)
    if not leaderless:
        return None
    what = "their groups read nothing, or commit nothing" if name == OFFSETS else "they are neither read nor written"
    return f"{leaderless} of {len(leaders)} partitions have no leader: {what}; start their brokers"


def list_leaders(metadata: TopicMetadata) -> list[int]:
    """The leader of each partition; below 0: it has none."""
    return [partition.leader for partition in metadata.partitions.values()]


def count_replicas(metadata: TopicMetadata) -> int:
    """Replicas of the partition that has the fewest."""
    return min((len(partition.replicas) for partition in metadata.partitions.values()), default=0)


def list_risks(replicas: int, settings: Mapping[str, str | None], *, brokers: int) -> list[str]:
    """The risks of `replicas` on so many brokers. `settings`: the topic's; one that is missing is no risk."""
    if replicas <= 1:
        return [f"1 replica on {brokers} brokers: what a broker holds stops with it; {SEE}"] if brokers > 1 else []
    risks = []
    least = int(settings.get(MIN_IN_SYNC) or 0)
    if least == 1:
        risks.append(f"{MIN_IN_SYNC} is 1 of {replicas}: what one broker alone has is acknowledged; {SEE}")
    elif least >= replicas:
        risks.append(f"{MIN_IN_SYNC} is {least} of {replicas}: nothing is taken while one broker is away; {SEE}")
    if settings.get(UNCLEAN) == "true":
        risks.append(f"{UNCLEAN} is true: acknowledged records may be given up; {SEE}")
    return risks
