"""Every client option we rely on, with its reason, in one place per client."""

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka.admin import AdminClient

from pipeline.config import KafkaConfig
from pipeline.kafka.client_errors import CLIENT_ERRORS
from pipeline.kafka.group.standing import HEARD_EVERY_MS, Standing
from pipeline.kafka.throttles import THROTTLES

Options = dict[str, str | int | float | bool]
# A broker is silent on the connection of a client that a quota holds back, for minutes, whether the quota is gone by
# then or not. A new connection is answered. A broker that has stopped is silent, too; others answer.
SILENT_MAX_MS = 10_000
NOTE_ERROR: Any = CLIENT_ERRORS.note  # the library's types know of no callables in options


def connect_options(config: KafkaConfig) -> Options:
    """Options with which every client reaches the brokers."""
    options: Options = {
        "bootstrap.servers": config.bootstrap_servers,
        "client.id": "hookline",
        # what a client has to say goes into our log, not to stderr in a form of its own
        "error_cb": NOTE_ERROR,
        "log_level": 2,
        # a broker that comes back is found again within a second or two, not after the default ten
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2000,
        "socket.keepalive.enable": True,
        # small requests leave at once
        "socket.nagle.disable": True,
        # then a request fails, and the next one goes to another broker, if another one can answer it
        "socket.timeout.ms": SILENT_MAX_MS,
    }
    if config.username is not None:
        options |= {
            "security.protocol": "SASL_SSL" if config.tls else "SASL_PLAINTEXT",
            "sasl.mechanism": config.sasl_mechanism,
            "sasl.username": config.username,
            "sasl.password": config.password.get_secret_value() if config.password else "",
        }
    elif config.tls:
        options["security.protocol"] = "SSL"
    if config.tls and config.ca_file is not None:
        options["ssl.ca.location"] = str(config.ca_file)
    return options


def open_admin(config: KafkaConfig, *, silent_max_s: float | None = None) -> AdminClient:
    """A client that asks and changes what brokers hold. It asks one broker for most of it, and waits for that one when
    it is gone: a new client asks another.

    It must ask nothing about groups: librdkafka 2.16 ends the process (SIGSEGV) when a broker answers such a question
    that does not coordinate the group, and the end of such a client may wait for ever.

    `silent_max_s`: a broker that is silent for so long is given up; None: as for all clients.
    """
    options = connect_options(config) | {
        # A client that connects when it needs to tries a broker that is gone without a pause, thousands of times a
        # second, while a question waits for that one: each such client takes a core. One that connects to all pauses.
        "enable.sparse.connections": False,
    }
    if silent_max_s is not None:
        options["socket.timeout.ms"] = int(silent_max_s * 1000)
    return AdminClient(options, logger=None)


def producer_options(config: KafkaConfig, *, linger_ms: float, timeout_s: float) -> Options:
    """A producer that never loses, repeats or reorders what it acknowledged."""
    return connect_options(config) | {
        # acknowledged means: by all in-sync replicas
        "acks": "all",
        # a retry inside the client neither repeats nor reorders
        "enable.idempotence": True,
        # the same key meets the same partition as with every Java client (and Faust); librdkafka's own default does not
        "partitioner": "murmur2_random",
        # 0 where latency counts: under load records wait for the requests before them anyway, and the client spins in
        # the last millisecond of a linger (0.5 ms: 108 polls a request, a quarter of a busy gateway's CPU)
        "linger.ms": linger_ms,
        "compression.type": "lz4",
        "message.max.bytes": config.record_max_bytes,
        # an unreachable Kafka is reported to the caller, not waited for
        "message.timeout.ms": int(timeout_s * 1000),
        "request.timeout.ms": max(1000, min(int(timeout_s * 1000), SILENT_MAX_MS)),
        # bounds memory: beyond it `produce` refuses; less than a record would refuse that one for ever
        "queue.buffering.max.kbytes": max(config.produce_buffer_max_bytes, 2 * config.record_max_bytes) // 1024,
        "queue.buffering.max.messages": 500_000,
    }


def consumer_options(
    config: KafkaConfig,
    *,
    group: str,
    member: str | None,
    linger_s: float = 0,
    linger_bytes: int = 1,
    hear: Callable[[str], None] | None = None,
) -> Options:
    """A consumer in a group, whose offsets only our watermark commits.

    `linger_s`: how long the broker may wait with its answer for `linger_bytes` to come together; 0: not at all.
    `hear`: gets what the client says of itself, its standing in the group among it.
    """
    options = connect_options(config) | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # a position that is not in the log is an error that we decide about, see `recovery`
        "auto.offset.reset": "error",
        # a rebalance takes away only what has to move
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": int(config.session_timeout_s * 1000),
        # a member learns by its heartbeat that partitions are moving: until all have, moving partitions are not read
        "heartbeat.interval.ms": 500,
        # the poll thread polls all the time, whatever the work does
        "max.poll.interval.ms": max(60_000, int(config.session_timeout_s * 1000)),
        # answer as soon as there is a byte (or enough of them, where records are not latency-sensitive); an idle fetch
        # returns after this, and only then are partitions fetched that were assigned meanwhile
        "fetch.min.bytes": linger_bytes if linger_s else 1,
        "fetch.wait.max.ms": max(1, int(linger_s * 1000)) if linger_s else 500,
        # bounds memory: records fetched and not yet polled
        "queued.max.messages.kbytes": 16_384,
        "fetch.message.max.bytes": config.record_max_bytes,
        # the position of a partition that is read to its end includes what hands out no record: ends of transactions
        "enable.partition.eof": True,
        **_checked_options(config),
    }
    if member is not None:
        # static membership: a quick restart gets its partitions back without a rebalance
        options["group.instance.id"] = member
    if hear is not None:
        heard: Any = hear  # as `NOTE_ERROR`
        options |= {"statistics.interval.ms": HEARD_EVERY_MS, "stats_cb": heard}
    return options


def retries_options(options: Mapping[str, str | int | float | bool]) -> Options:
    """Options for the reader of retry topics beside a member of a group with these `options`."""
    # a partition whose next record is due is fetched again when the fetch that is under way returns
    options = {name: value for name, value in options.items() if name not in ("statistics.interval.ms", "stats_cb")}
    return {**options, "fetch.wait.max.ms": 100, **_throttle_options()}


def producer_topics_options(config: KafkaConfig, standing: Standing) -> Options:
    """A reader of producers' topics, which come and go."""
    return consumer_options(config, group=standing.group, member=None, hear=standing.hear) | {
        # a new topic is seen within this
        "topic.metadata.refresh.interval.ms": 3000,
        # a batch may wait for Kafka, and for a schema registry
        "max.poll.interval.ms": 300_000,
        "enable.partition.eof": False,
    }


def view_options(config: KafkaConfig) -> Options:
    """A reader of whole compacted topics, outside any group."""
    return connect_options(config) | {
        # demanded by the client, and looked up, but never used: partitions are assigned by hand
        "group.id": f"{config.topic_prefix}view",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "fetch.min.bytes": 1,
        # a change is seen at once; an idle fetch returns after this
        "fetch.wait.max.ms": 500,
        "queued.max.messages.kbytes": 16_384,
        "fetch.message.max.bytes": config.record_max_bytes,
        "enable.partition.eof": True,
        **_checked_options(config),
    }


def probe_options(config: KafkaConfig) -> Options:
    """A reader that tries single offsets."""
    return view_options(config) | {"group.id": f"{config.topic_prefix}probe", "fetch.wait.max.ms": 100}


def _throttle_options() -> Options:
    note: Any = THROTTLES.open().note  # as `NOTE_ERROR`
    return {"throttle_cb": note}


def _checked_options(config: KafkaConfig) -> Options:
    return {
        **_throttle_options(),
        # A broker that has just started may not know its topics yet. Told so, the client forgets their partitions until
        # it asks again, by default after five minutes, and fetches nothing: 26 of 60 readers after one restart.
        "topic.metadata.refresh.interval.ms": 10_000,
        # Without it a wrong bit on a broker's disk is handed out, or aborts the process in a decompressor. A reader
        # that sets it must step over the batch by itself, see `readable`.
        "check.crcs": True,
        # What a batch may come to: librdkafka goes by this when it unpacks zstd, the matcher in any compression.
        "receive.message.max.bytes": config.batch_unpacked_max_bytes,
    }
