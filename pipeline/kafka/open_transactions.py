"""Where an open transaction of a producer keeps what is written from being read."""

from collections.abc import Iterable, Mapping

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.config import KafkaConfig
from pipeline.kafka.options import connect_options
from pipeline.kafka.partitions import LATEST
from pipeline.kafka.record import Place
from pipeline.start_error import StartError
from pipeline.topics import Topic

ANSWER_TIMEOUT_S = 10.0


def find_open_transactions(config: KafkaConfig, topics: Iterable[Topic]) -> dict[Place, int]:
    """Partition → how many of its offsets cannot be read yet. Blocks. Raises `StartError` without an answer."""
    admin = AdminClient(dict(connect_options(config)), logger=None)
    places = [(topic.name, partition) for topic in topics for partition in range(topic.partitions)]
    if not places:
        return {}
    # in this order: what is written between the two questions does not look like an open transaction
    written = _ask_ends(admin, places, IsolationLevel.READ_UNCOMMITTED)
    readable = _ask_ends(admin, places, IsolationLevel.READ_COMMITTED)
    return {place: written[place] - readable[place] for place in places if readable[place] < written[place]}


def _ask_ends(admin: AdminClient, places: Iterable[Place], isolation: IsolationLevel) -> Mapping[Place, int]:
    wanted = {TopicPartition(*place): LATEST for place in places}
    futures = admin.list_offsets(wanted, isolation_level=isolation, request_timeout=ANSWER_TIMEOUT_S)
    ends = {}
    for part, future in futures.items():
        try:
            ends[part.topic, part.partition] = int(future.result(ANSWER_TIMEOUT_S).offset)
        except KafkaException as error:
            reason = error.args[0].str()
            raise StartError(f"cannot ask where partition {part.partition} of {part.topic} ends: {reason}") from error
    return ends
