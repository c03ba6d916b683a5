"""Do the partitions that a process reads answer? A client without a leader waits, like one that has read everything."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.options import open_admin
from pipeline.kafka.partitions import LATEST, read_end
from pipeline.kafka.record import Place
from pipeline.topics import Topic

INTERVAL_S = 3.0
ANSWER_TIMEOUT_S = 3.0
# Another broker takes over from one that is gone, after nine seconds with Kafka's own settings.
SILENT_MAX_S = 12.0


class ReadProbe:
    """Asks where the partitions of `topics` end. `run` for ever; `check` is the answer."""

    def __init__(
        self, config: KafkaConfig, topics: Sequence[Topic], *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        # a broker that is silent for so long is not asked again: others know as well
        self._open_admin = partial(open_admin, config, silent_max_s=ANSWER_TIMEOUT_S)
        self._admin = self._open_admin()
        self._clock_s = clock_s
        places = [(topic.name, number) for topic in topics for number in range(topic.partitions)]
        self._answered_at_s: dict[Place, float] = dict.fromkeys(places, clock_s())
        self._reason = ""

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await asyncio.to_thread(self._ask)
            await asyncio.sleep(INTERVAL_S)

    def check(self) -> str | None:
        """Health: None, or how many partitions say nothing."""
        now_s = self._clock_s()
        silent = [place for place, at_s in self._answered_at_s.items() if now_s - at_s > SILENT_MAX_S]
        if not silent:
            return None
        topic, partition = min(silent)
        return (
            f"{len(silent)} of {len(self._answered_at_s)} partitions cannot be read, "
            f"{topic} [{partition}] among them: {self._reason}"
        )

    def _ask(self) -> None:
        asked = {TopicPartition(*place): LATEST for place in self._answered_at_s}
        are_all_answered = True
        for part, future in self._admin.list_offsets(asked, request_timeout=ANSWER_TIMEOUT_S).items():
            try:
                read_end(future.result(2 * ANSWER_TIMEOUT_S))  # the client gives up before
            except (KafkaException, TimeoutError) as error:
                code = error.args[0].code() if isinstance(error, KafkaException) else None
                if code != KafkaError.UNKNOWN_TOPIC_OR_PART:  # said by the watch of topics
                    self._reason = str(error.args[0]) if error.args else "no answer in time"
                    are_all_answered = False
                    continue
            self._answered_at_s[part.topic, part.partition] = self._clock_s()
        if not are_all_answered:
            # one that asks with an epoch of before goes on doing so (FENCED_LEADER_EPOCH)
            self._admin = self._open_admin()
