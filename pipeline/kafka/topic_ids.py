"""The ids of topics: a topic that was deleted and made again has its old name and another id.

An offset means something only together with the id of the topic it counts in. A reader keeps both, and begins anew when
the id is another one: the new topic may well be longer than the position in the old one.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection

from pipeline.config import KafkaConfig
from pipeline.kafka.client_errors import describe_failure
from pipeline.kafka.options import open_admin
from pipeline.kafka.record import Place
from pipeline.start_error import StartError
from pipeline.topics import Topic

INTERVAL_S = 2.0
ANSWER_TIMEOUT_S = 5.0
FORMER_MAX = 100
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # sixteen zero bytes: the broker knows no ids

log = structlog.get_logger()


class TopicIds:
    """Ids of the topics of one process. Any thread may ask; the answers are replaced as a whole."""

    def __init__(self, config: KafkaConfig, topics: Sequence[Topic]) -> None:
        self._config = config
        self._names = sorted({topic.name for topic in topics})
        self._admin = open_admin(self._config)
        self._ids: Mapping[str, str] = {}
        self._former: deque[str] = deque(maxlen=FORMER_MAX)  # of topics that were made again

    async def start(self) -> None:
        """Ask for the first time. Raises `StartError`."""
        try:
            await asyncio.to_thread(self.ask)
        except (KafkaException, TimeoutError) as error:
            raise StartError(describe_failure("ask Kafka for the ids of its topics", error)) from error

    async def run(self) -> None:
        """Ask again and again, until cancelled. Without an answer the known ids stay."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await asyncio.to_thread(self.ask)
            except (KafkaException, TimeoutError) as error:
                log.warning("topic_ids_not_asked", reason=str(error))

    def follow(self, names: Iterable[str]) -> None:
        """Ask for the ids of these topics from now on."""
        self._names = sorted(set(names))

    def find(self, name: str) -> str | None:
        """The id of a topic as it was asked last; None: not known. A topic that is away keeps the id it had."""
        return self._ids.get(name)

    def ask(self) -> None:
        """Ask now. Blocks; raises `KafkaException` or `TimeoutError` when Kafka does not answer."""
        try:
            found = self._ask()
        except (KafkaException, TimeoutError):
            # a client asks one broker for all; one that is gone it waits for until it looks who is there, minutes later
            self._admin = open_admin(self._config)
            raise
        self._ids = accept_ids(self._ids, found, self._former)

    def _ask(self) -> dict[str, str]:
        if not self._names:
            return {}
        admin = self._admin  # stays while it is asked, whatever another thread puts in its place
        asked = admin.describe_topics(TopicCollection(self._names), request_timeout=ANSWER_TIMEOUT_S)
        found = {}
        for name, future in asked.items():
            try:
                topic_id = str(future.result(ANSWER_TIMEOUT_S * 2).topic_id)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
                continue  # deleted, and not made again yet
            if topic_id != NO_ID:
                found[name] = topic_id
        return found


def accept_ids(known: Mapping[str, str], asked: Mapping[str, str], former: deque[str]) -> Mapping[str, str]:
    """The ids by name after an answer. `former`: those that were replaced, no one of which comes back.

    A broker that was frozen, or cut off, still knows the topic of before.
    """
    present = {name: topic_id for name, topic_id in asked.items() if topic_id not in former}
    former.extend(known[name] for name, topic_id in present.items() if known.get(name, topic_id) != topic_id)
    return {**known, **present}


class Origins:
    """Which topics the positions of one reader count in."""

    def __init__(self, ids: TopicIds | None) -> None:
        """`ids`: None: not known, and nothing is found."""
        self._ids = ids
        self._origins: dict[Place, str] = {}
        self._before: dict[Place, str] = {}  # of partitions that were ours

    def refresh(self) -> None:
        """Ask now, if Kafka answers. Blocks."""
        if self._ids is None:
            return
        try:
            self._ids.ask()
        except (KafkaException, TimeoutError) as error:
            log.warning("topic_ids_not_asked", reason=str(error))

    def begin(self, place: Place, noted_id: str | None) -> bool:
        """Note that reading begins in the present topic. Is it the one that was noted, or that this reader read before?

        A topic without a known id counts as the same one.
        """
        is_same = self.is_noted(place, noted_id)
        self.accept(place)
        return is_same

    def is_noted(self, place: Place, noted_id: str | None) -> bool:
        """Is the present topic the one that was noted, or that this reader read before? Changes nothing."""
        noted_id, present_id = noted_id or self._before.get(place), self.present(place)
        return noted_id is None or present_id is None or noted_id == present_id

    def accept(self, place: Place, topic_id: str | None = None) -> None:
        """Note that reading has begun in this topic. `topic_id` None: in the present one."""
        accepted_id = topic_id or self.present(place)
        if accepted_id is not None:
            self._before.pop(place, None)
            self._origins[place] = accepted_id

    def find(self, place: Place) -> str | None:
        """The id of the topic that positions of this partition belong to."""
        return self._origins.get(place)

    def is_other(self, place: Place) -> bool:
        """Was the topic deleted and made again since reading began?"""
        origin, present_id = self._origins.get(place), self.present(place)
        return origin is not None and present_id is not None and origin != present_id

    def list_changed(self) -> list[Place]:
        """Partitions whose topic was deleted and made again since reading began."""
        return [place for place in self._origins if self.is_other(place)]

    def forget(self, place: Place) -> None:
        """Forget a partition that another process reads."""
        if place in self._origins:
            self._before[place] = self._origins.pop(place)

    def present(self, place: Place) -> str | None:
        """The id of the topic as it was asked last; None: not known."""
        return None if self._ids is None else self._ids.find(place[0])


def describe_other(topic_id: str | None) -> str:
    """The reason why a position is of no use any more, as text. `topic_id`: that of the topic it belongs to."""
    known = "" if topic_id is None else f" (its id was {topic_id})"
    return f"the topic was deleted and made again, and the position counts in the one before{known}"
