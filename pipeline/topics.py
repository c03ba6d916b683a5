"""Every topic as an object. No other module knows a topic's name, key, record or shape.

Topics that share a key share a partition count (`co-partitioned`), so that everything about one application, or one
subscription, meets in one process.
"""

from dataclasses import dataclass

from pipeline.config import KafkaConfig
from pipeline.core.log.partition import locate_partition

DAY_S = 86_400
UNLIMITED = "-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic: its name, the Avro records it holds, what its key is, and how Kafka is to keep it."""

    name: str
    records: tuple[str, ...]
    key: str
    partitions: int
    retention_s: int | None  # None: compacted, the newest record of each key is kept
    delay_s: int = 0  # retry tiers: how long a record stays
    linger_s: float = 0.0  # how long records may gather before they are written

    is_compound: bool = False  # what stands before a slash in a key decides the partition

    def locate(self, key: bytes) -> int:
        """The partition for a key, of those that were declared.

        A producer's own choice is among those that the topic has. If it was grown, what belongs together would lie
        apart, and retries where they are never read.
        """
        return locate_partition(key.partition(b"/")[0] if self.is_compound else key, self.partitions)

    def config(self, *, record_max_bytes: int) -> dict[str, str]:
        """The topic's settings as Kafka names them."""
        config = {
            "max.message.bytes": str(record_max_bytes),
            # The broker refuses a producer's timestamp that is far from its own clock: a process with a wrong clock
            # could write nothing down that it does. Days, delays and retention go by one clock so, the broker's.
            "message.timestamp.type": "LogAppendTime",
            # A limit of size deletes records that were not read yet, at any age.
            "retention.bytes": UNLIMITED,
        }
        # Each kind also has the setting that the other policy goes by: under a policy set by mistake nothing is removed
        # that would have stayed. Keys are applications and subscriptions: compaction would keep one record of each.
        if self.retention_s is None:
            # A restarted matcher looks up which routes applied to the events still waiting: older versions stay a day.
            lag_ms = str(DAY_S * 1000)
            return config | {"cleanup.policy": "compact", "min.compaction.lag.ms": lag_ms, "retention.ms": UNLIMITED}
        kept_ms = str(self.retention_s * 1000)
        return config | {"cleanup.policy": "delete", "min.compaction.lag.ms": kept_ms, "retention.ms": kept_ms}


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """All topics of one installation."""

    events: Topic
    dispatches: Topic
    deliveries: Topic
    retries: tuple[Topic, ...]  # shortest delay first
    attempts: Topic
    dead: Topic
    routes: Topic
    endpoints: Topic
    endpoint_states: Topic

    def of_gateway(self) -> tuple[Topic, ...]:
        """The topics that the gateway reads or writes; the methods below name those of the other processes."""
        return (self.events, self.routes, self.endpoints, self.endpoint_states)

    def of_gateway_output(self) -> tuple[Topic, ...]:
        """The topics that the gateway must be able to write without a request."""
        return (self.events, self.routes, self.endpoints)

    def of_matcher(self) -> tuple[Topic, ...]:
        return (self.events, self.routes, self.endpoint_states, *self.of_matcher_output())

    def of_matcher_output(self) -> tuple[Topic, ...]:
        return (self.deliveries, *self.of_excess(), self.dispatches, self.dead)

    def of_excess(self) -> tuple[Topic, ...]:
        """The retry topics to which the matcher writes what an application has beyond its share."""
        return tuple(topic for topic in self.retries if topic.delay_s <= EXCESS_DELAY_MAX_S)

    def of_deliver(self) -> tuple[Topic, ...]:
        return (self.deliveries, *self.retries, self.attempts, self.dead, self.endpoints, self.endpoint_states)

    def of_outcomes(self) -> tuple[Topic, ...]:
        """The topics of the outcomes that deliver writes."""
        return (self.attempts, *self.retries, self.dead)

    def of_archive(self) -> tuple[Topic, ...]:
        return (self.events, self.dispatches, self.attempts, self.dead)

    def all(self) -> tuple[Topic, ...]:
        return (
            self.events,
            self.dispatches,
            self.deliveries,
            *self.retries,
            self.attempts,
            self.dead,
            self.routes,
            self.endpoints,
            self.endpoint_states,
        )


# These records are not latency-sensitive; lingering saves one produce request per event at low load. Only the archive
# reads dispatches, and it lingers as well. Retries wait for a second at least. An attempt holds its place at the
# endpoint until it is written.
DISPATCH_LINGER_S = 0.05
RETRY_LINGER_S = 0.05
ATTEMPT_LINGER_S = 0.02
RETRY_TIERS_S = (1, 10, 60, 600, 3600)
EXCESS_DELAY_MAX_S = 60


def declare_topics_for(config: KafkaConfig) -> Topics:
    """Every topic of the installation that `config` describes."""
    return declare_topics(
        prefix=config.topic_prefix, partitions=config.partitions, event_retention_s=config.event_retention_s
    )


def declare_topics(*, prefix: str, partitions: int, event_retention_s: int) -> Topics:
    """Every topic, with names that start with `prefix` and `partitions` partitions each."""

    def topic(
        name: str,
        records: tuple[str, ...],
        key: str,
        *,
        retention_s: int | None = event_retention_s,
        delay_s: int = 0,
        linger_s: float = 0.0,
        is_compound: bool = False,
    ) -> Topic:
        return Topic(
            name=prefix + name,
            records=records,
            key=key,
            partitions=partitions,
            retention_s=retention_s,
            delay_s=delay_s,
            linger_s=linger_s,
            is_compound=is_compound,
        )

    return Topics(
        events=topic("events", ("event", "routes_changed", "probe"), "application_id"),
        dispatches=topic("dispatches", ("dispatch", "probe"), "application_id", linger_s=DISPATCH_LINGER_S),
        deliveries=topic("deliveries", ("delivery", "probe"), "subscription_id"),
        retries=tuple(
            # kept well beyond its delay: what waits for its time must still be there then
            topic(
                f"retries.{_name_delay(delay_s)}",
                ("delivery", "bundle", "probe"),
                "subscription_id",
                retention_s=max(event_retention_s, delay_s + DAY_S),
                delay_s=delay_s,
                linger_s=RETRY_LINGER_S,
            )
            for delay_s in RETRY_TIERS_S
        ),
        attempts=topic("attempts", ("attempt", "probe"), "subscription_id", linger_s=ATTEMPT_LINGER_S),
        dead=topic("dead", ("dead_letter", "probe"), "subscription_id", retention_s=max(event_retention_s, 30 * DAY_S)),
        routes=topic(
            "routes",
            ("routes_head", "routes_part", "routes"),
            "application_id",
            retention_s=None,
            is_compound=True,
        ),
        endpoints=topic("endpoints", ("endpoint",), "subscription_id", retention_s=None),
        endpoint_states=topic(
            "endpoint-states",
            ("endpoint_state", "republish_asked", "open_requests"),
            "subscription_id",
            retention_s=None,
        ),
    )


def _name_delay(delay_s: int) -> str:
    for unit_s, letter in ((3600, "h"), (60, "m")):
        if delay_s % unit_s == 0:
            return f"{delay_s // unit_s}{letter}"
    return f"{delay_s}s"
