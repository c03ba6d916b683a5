"""The Kafka clients of one consumer: one is a member of the group, one reads partitions assigned by hand.

Retry topics have a client of their own. In one client's queue, new records would wait behind thousands of retries that
are due at the same time (behind 100,000 of one endpoint: half a second).
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.kafka.options import retries_options
from pipeline.kafka.partitions import make_part
from pipeline.kafka.record import Place
from pipeline.topics import Topic

QUERY_TIMEOUT_S = 10.0


class Clients:
    """Kafka clients of the consumer's thread."""

    def __init__(
        self,
        options: Mapping[str, str | int | float | bool],
        companions: Sequence[Topic],
        *,
        on_commit: Callable[[KafkaError | None, list[TopicPartition]], None],
    ) -> None:
        self._companions = frozenset(topic.name for topic in companions)
        self.group = Consumer(dict(options), on_commit=on_commit, logger=None)
        # in no group: the client above commits for both
        self.retries = Consumer(retries_options(options), logger=None) if companions else None

    def find(self, topic: str) -> Consumer:
        """The client that reads this topic."""
        return self.retries if self.retries is not None and topic in self._companions else self.group

    def is_companion(self, topic: str) -> bool:
        """Is the topic assigned by hand?"""
        return topic in self._companions

    def learn_leaders(self) -> None:
        """Where companions are. Blocks; otherwise a client would ask a second after their partitions were assigned."""
        for topic in self._companions:
            with contextlib.suppress(KafkaException):
                self.find(topic).list_topics(topic, QUERY_TIMEOUT_S)

    def assign(self, parts: Sequence[TopicPartition]) -> None:
        """Read these partitions, each from its offset."""
        self._for_each(Consumer.incremental_assign, parts)

    def unassign(self, places: Iterable[Place]) -> None:
        """Stop reading these partitions."""
        self._for_each(Consumer.incremental_unassign, [TopicPartition(*place) for place in places])

    def move(self, place: Place, offset: int, epoch: int | None = None) -> None:
        """Read on at another offset; the partition is fetched again, even if it was paused."""
        client, part = self.find(place[0]), make_part(place, offset, epoch=epoch)
        # not `seek`: a partition whose position was out of range is not fetched, and cannot be sought in
        client.incremental_unassign([part])
        client.incremental_assign([part])

    def pause(self, places: Iterable[Place]) -> None:
        """Stop fetching these partitions."""
        self._for_each(Consumer.pause, [TopicPartition(*place) for place in places])

    def resume(self, places: Iterable[Place]) -> None:
        """Fetch these partitions again."""
        self._for_each(Consumer.resume, [TopicPartition(*place) for place in places])

    def close(self) -> BaseException | None:
        """Leave the group, which revokes every partition. The first error, if there was one."""
        first: BaseException | None = None
        for client in (self.group, self.retries):
            try:
                if client is not None:
                    client.close()
            except BaseException as error:
                first = first or error
        return first

    def _for_each(
        self, call: Callable[[Consumer, list[TopicPartition]], object], parts: Sequence[TopicPartition]
    ) -> None:
        """Call `call` with each client and those of `parts` that it reads, unless there are none."""
        for client in (self.group, self.retries):
            own = [part for part in parts if self.find(part.topic) is client]
            if client is not None and own:
                call(client, own)
