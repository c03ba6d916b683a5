"""Where an open transaction of a producer keeps what is written from being read."""

from collections.abc import Iterable

from confluent_kafka import IsolationLevel, KafkaException

from pipeline.config import KafkaConfig
from pipeline.kafka.client_errors import describe_failure
from pipeline.kafka.options import open_admin
from pipeline.kafka.partition_bounds import wait_for_leader
from pipeline.kafka.partitions import LATEST, ask_ends
from pipeline.kafka.record import Place
from pipeline.start_error import StartError
from pipeline.topics import Topic


def find_open_transactions(config: KafkaConfig, topics: Iterable[Topic]) -> dict[Place, int]:
    """Partition → how many of its offsets cannot be read yet. Blocks. Raises `StartError` without an answer."""
    admin = open_admin(config)
    places = [(topic.name, partition) for topic in topics for partition in range(topic.partitions)]
    if not places:
        return {}
    try:
        # in this order: what is written between the two questions does not look like an open transaction
        written = wait_for_leader(lambda: ask_ends(admin, places, LATEST))
        readable = wait_for_leader(lambda: ask_ends(admin, places, LATEST, isolation=IsolationLevel.READ_COMMITTED))
    except (KafkaException, TimeoutError) as error:
        raise StartError(describe_failure("ask Kafka where its partitions end", error)) from error
    held = {place: written[place].offset - readable[place].offset for place in places}
    return {place: offsets for place, offsets in held.items() if offsets > 0}
