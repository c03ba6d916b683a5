"""Topics that take no records of ours: logged once, counted, red in health until they take one again."""

import structlog

from pipeline.kafka.failures import TopicRefusedError
from pipeline.metrics import Metrics

log = structlog.get_logger()


class Refusals:
    """Topics that refuse records, with the reason."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._reasons: dict[str, str] = {}

    def note(self, failure: TopicRefusedError) -> None:
        """Note that a topic took no record."""
        if failure.topic not in self._reasons:
            log.error("topic_refuses", topic=failure.topic, reason=str(failure))
        self._reasons[failure.topic] = str(failure)
        self._metrics.topic_refused.labels(failure.topic).set(1)

    def end(self, topic: str) -> None:
        """Note that a topic takes records; the refusal that was noted, if any, is over."""
        if self._reasons and self._reasons.pop(topic, None) is not None:
            log.info("topic_takes_records", topic=topic)
            self._metrics.topic_refused.labels(topic).set(0)

    def check(self) -> str | None:
        """Health: None, or which topics take no records, and why."""
        refusals = [f"{topic} takes no records: {reason}" for topic, reason in sorted(self._reasons.items())]
        return "; ".join(refusals) or None
