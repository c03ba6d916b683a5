"""Every metric, once. Dashboards and alerts are tested against this catalogue.

One `Metrics` with its registry per process; `process` serves it at `/metrics`.
"""

from collections.abc import Iterable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, Metric, ProcessCollector

LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# with the objective, 2 s, among them
FIRST_ATTEMPT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
# superseded: the group rebalanced; the partition's new owner commits from here
CommitResult = Literal["ok", "superseded", "failed"]
SIZE_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


NAMESPACE = "hookline"
# Reasons of dead letters. Each series exists before its first letter: one that is born at 1 has not increased.
DEAD_REASONS = (
    "undecodable",
    "corrupt",
    "wrong_key",
    "invalid_event",
    "unknown_application",
    "unknown_event_type",
    "id_reused",
    "schema",
    "endpoint_unknown",
    "exhausted",
    "gone",
    "client_error",
    "invalid_header",
    "internal",
    "unwritable",
    "refused_by_log",
    "payload_gone",
)
# Reasons of parking, and faults of a partition. Their series exist from the start, so that panels show 0.
PARK_REASONS = (
    "lane_full",
    "breaker",
    "destination_busy",
    "endpoint_unknown",
    "held",
    "to_be_disabled",
    "key_missing",
    "local_shortage",
    "payload_away",
    "spool_full",
    "over_share",
    "bundled",
)
PAYLOAD_SOURCES = ("spool", "log", "archive")
READ_FAULT_KINDS = ("unreadable", "tail_lost", "made_again")


class Renamed(CollectorRegistry):
    """A registry whose metrics are shown with another word than `hookline` in front."""

    def __init__(self, namespace: str) -> None:
        super().__init__()
        self._namespace = namespace

    def collect(self) -> Iterable[Metric]:
        for metric in super().collect():
            if self._namespace != NAMESPACE and metric.name.startswith(f"{NAMESPACE}_"):
                metric.name = self._rename(metric.name)
                metric.samples = [sample._replace(name=self._rename(sample.name)) for sample in metric.samples]
            yield metric

    def _rename(self, name: str) -> str:
        return self._namespace + name.removeprefix(NAMESPACE)


class Metrics:
    """The catalogue. Attributes are the metrics; names start with `hookline_`, or what `namespace` says instead.

    Beside them stand Python's and the operating system's figures of the process, under their usual names.
    """

    def __init__(self, process_name: str, *, namespace: str = NAMESPACE, topics: Iterable[str] = ()) -> None:
        """`topics`: those whose failures are counted from 0 on."""
        registry = self.registry = Renamed(namespace)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        info = Gauge("hookline_process_info", "1, with the process' name", ["process"], registry=registry)
        info.labels(process_name).set(1)

        # every process that uses Kafka
        self.produced_total = Counter(
            "hookline_kafka_produced_total",
            "Records acknowledged by all in-sync replicas",
            ["topic"],
            registry=registry,
        )
        self.produce_failed_total = Counter(
            "hookline_kafka_produce_failed_total", "Records Kafka did not acknowledge", ["topic"], registry=registry
        )
        self.topic_settings_differing = Gauge(
            "hookline_topic_settings_differing",
            "1 for each setting of a topic that is not as it is relied on",
            ["topic", "setting"],
            registry=registry,
        )
        self.topic_refused = Gauge(
            "hookline_topic_refused", "1 while a topic takes no record of this process", ["topic"], registry=registry
        )
        self.records_refused_total = Counter(
            "hookline_records_refused_total", "Records a topic does not take for good", ["topic"], registry=registry
        )
        self.producers_replaced_total = Counter(
            "hookline_producers_replaced_total", "Kafka clients replaced after a fatal error", registry=registry
        )
        self.clock_ahead_seconds = Gauge(
            "hookline_clock_ahead_seconds", "The host's clock minus the brokers', as last seen", registry=registry
        )
        self.writable = Gauge(
            "hookline_writable", "1 while what this process does can be written to the log", registry=registry
        )
        self.outcomes_held = Gauge(
            "hookline_outcomes_held", "Records the log has refused, held to be written again", registry=registry
        )
        self.lag_records = Gauge(
            "hookline_lag_records",
            "Records not yet settled, by topic and partition",
            ["topic", "partition"],
            registry=registry,
        )
        self.runnable_lag_records = Gauge(
            "hookline_runnable_lag_records",
            "Due work that could be done now: the signal to scale on",
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "hookline_lag_seconds",
            "Age of the oldest record not yet settled, by topic and partition; 0: there is none",
            ["topic", "partition"],
            registry=registry,
        )
        self.retention_used_ratio = Gauge(
            "hookline_retention_used_ratio",
            "Age of the oldest record not yet settled, as a share of how long its topic keeps records: 1 is loss",
            ["topic", "partition"],
            registry=registry,
        )
        self.missing_total = Counter(
            "hookline_records_missing_total",
            "Records that were gone before they could be read: retention is shorter than the outage was",
            ["topic"],
            registry=registry,
        )
        self.unpublished_applications = Gauge(
            "hookline_unpublished_applications",
            "Applications of which a change is saved and could not be published",
            registry=registry,
        )
        self.disagreements = Gauge(
            "hookline_routes_disagreements",
            "Applications about which log and database disagree",
            registry=registry,
        )
        self.healed_total = Counter(
            "hookline_routes_healed_total",
            "Applications published again because log and database disagreed",
            registry=registry,
        )
        self.database_usable = Gauge(
            "hookline_database_usable",
            "1: PostgreSQL answers, and takes changes where they are made; by pool of connections",
            ["pool"],
            registry=registry,
        )
        self.database_connections = Gauge(
            "hookline_database_connections",
            "Connections that are open: used or idle",
            ["pool", "state"],
            registry=registry,
        )
        self.database_requests_waiting = Gauge(
            "hookline_database_requests_waiting", "Waiting for a free connection", ["pool"], registry=registry
        )
        self.database_acquires_total = Counter(
            "hookline_database_acquires_total",
            "Connections asked for: at_once, waited or failed (none in time)",
            ["pool", "result"],
            registry=registry,
        )
        self.database_acquire_wait_seconds_total = Counter(
            "hookline_database_acquire_wait_seconds_total",
            "Time spent waiting for a free connection, of all requests together",
            ["pool"],
            registry=registry,
        )
        self.database_replica_lag_seconds = Gauge(
            "hookline_database_replica_lag_seconds", "How far a read replica is behind", ["pool"], registry=registry
        )
        self.read_faults_total = Counter(
            "hookline_read_faults_total",
            "Places where reading could not go on: unreadable, head_lost, tail_lost or made_again",
            ["topic", "kind"],
            registry=registry,
        )
        self.ids_reused_total = Counter(
            "hookline_ids_reused_total",
            "Events that are not in the archive because another one, with another content, came before under their id",
            registry=registry,
        )
        self.open_transaction_offsets = Gauge(
            "hookline_open_transaction_offsets",
            "Offsets that are written but not readable yet: a producer's transaction before them is open",
            ["topic", "partition"],
            registry=registry,
        )
        self.lost_offsets_total = Counter(
            "hookline_lost_offsets_total",
            "Offsets that this process had read (reader) or had acknowledged (writer) and that are gone from the log",
            ["topic", "known_to"],
            registry=registry,
        )
        self.unreadable_records_total = Counter(
            "hookline_unreadable_records_total",
            "Offsets stepped over because their batch cannot be read",
            ["topic"],
            registry=registry,
        )
        self.health_problem = Gauge(
            "hookline_health_problem",
            "1 while this check of /health says that something is wrong",
            ["check"],
            registry=registry,
        )
        self.in_flight = Gauge("hookline_in_flight", "Records taken and not yet settled", registry=registry)
        self.stalled_seconds = Gauge(
            "hookline_stalled_seconds",
            "How long work that could be done has stood still: all places are taken (places), or nothing is read "
            "because too much is in flight (back_pressure)",
            ["cause"],
            registry=registry,
        )
        self.dead_total = Counter("hookline_dead_total", "Dead letters written", ["reason"], registry=registry)
        self.schema_misfits_total = Counter(
            "hookline_schema_misfits_total",
            "Payloads that do not fit the schema of their event type: refuse (not taken) or warn (taken)",
            ["mode"],
            registry=registry,
        )
        self.commits_total = Counter(
            "hookline_commits_total",
            "Watermark commits: ok, superseded (the group has gone on without us) or failed",
            ["result"],
            registry=registry,
        )

        # gateway
        self.http_requests_total = Counter(
            "hookline_http_requests_total", "API requests", ["route", "method", "status"], registry=registry
        )
        self.http_seconds = Histogram(
            "hookline_http_seconds", "Duration of API requests", ["route"], buckets=LATENCY_BUCKETS_S, registry=registry
        )
        self.events_ingested_total = Counter(
            "hookline_events_ingested_total", "Events answered with 201", registry=registry
        )
        self.events_refused_total = Counter(
            "hookline_events_refused_total", "Events not accepted, by problem id", ["problem"], registry=registry
        )
        self.mails_total = Counter(
            "hookline_mails_total", "E-mails to users: sent, failed (each try), dropped", ["result"], registry=registry
        )
        self.archive_waits_total = Counter(
            "hookline_archive_waits_total", "Reads that waited for the archive", ["result"], registry=registry
        )

        # matcher
        self.events_matched_total = Counter("hookline_events_matched_total", "Events matched", registry=registry)
        self.events_repeated_total = Counter(
            "hookline_events_repeated_total", "Events dropped because their id was seen before", registry=registry
        )
        self.matches_total = Counter("hookline_matches_total", "Deliveries emitted", registry=registry)
        self.chunk_records = Histogram(
            "hookline_chunk_records", "Events per step", buckets=SIZE_BUCKETS, registry=registry
        )
        self.match_seconds = Histogram(
            "hookline_match_seconds",
            "From append of an event to acknowledgement of its deliveries",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )

        # deliver
        self.attempts_total = Counter(
            "hookline_attempts_total",
            "Attempts by outcome and error class",
            ["outcome", "error_class"],
            registry=registry,
        )
        self.local_shortages_total = Counter(
            "hookline_local_shortages_total",
            "Deliveries that wait because this process lacks something itself: files, memory, ports, threads …",
            ["kind"],
            registry=registry,
        )
        self.payloads_read_total = Counter(
            "hookline_payloads_read_total",
            "Payloads that deliveries do not carry, by where they were found",
            ["source"],
            registry=registry,
        )
        self.spool_used_bytes = Gauge(
            "hookline_spool_used_bytes", "Payloads in the spool whose requests are open", registry=registry
        )
        self.endpoints_without_key = Gauge(
            "hookline_endpoints_without_key",
            "Endpoints that wait for a sealing key which this process does not have",
            registry=registry,
        )
        self.internal_errors_total = Counter(
            "hookline_internal_errors_total",
            "Records whose handling raised an exception that no code foresaw",
            registry=registry,
        )
        self.webhook_delivery_duration_seconds = Histogram(
            "hookline_webhook_delivery_duration_seconds",
            "Duration of one HTTP request to an endpoint",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.first_attempt_seconds = Histogram(
            "hookline_first_attempt_seconds",
            "From receiving an event to the start of its first attempt, unless its endpoint made it wait",
            buckets=FIRST_ATTEMPT_BUCKETS_S,
            registry=registry,
        )
        self.delivery_seconds = Histogram(
            "hookline_delivery_seconds",
            "From receiving an event to its first successful attempt",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.parked_total = Counter(
            "hookline_parked_total", "Deliveries parked for capacity", ["reason"], registry=registry
        )
        self.parked_rate_per_second = Gauge(
            "hookline_parked_rate_per_second", "Parked deliveries that may be started a second", registry=registry
        )
        self.return_rate_per_second = Gauge(
            "hookline_return_rate_per_second",
            "Records of retry topics that are taken a second while none is late",
            registry=registry,
        )
        self.retries_scheduled_total = Counter(
            "hookline_retries_scheduled_total", "Later attempts written to a retry tier", ["tier"], registry=registry
        )
        self.repeats_skipped_total = Counter(
            "hookline_repeats_skipped_total",
            "Deliveries skipped because their attempt was already made",
            registry=registry,
        )
        self.requests_open = Gauge("hookline_requests_open", "HTTP requests in flight", registry=registry)
        self.egress_failing_share = Gauge(
            "hookline_egress_failing_share",
            "Of the endpoints active in the last minutes, or of applications if that is less, how many have faults: "
            "time-outs, 5xx, 429",
            registry=registry,
        )
        self.egress_suspected = Gauge(
            "hookline_egress_suspected",
            "1: so many endpoints fail that our own way out is suspected; none is disabled for failing",
            registry=registry,
        )
        self.disable_requests_total = Counter(
            "hookline_disable_requests_total", "Subscriptions that should be disabled", ["reason"], registry=registry
        )
        self.lanes = Gauge("hookline_lanes", "Lanes with work", registry=registry)

        # archive
        self.rows_total = Counter("hookline_archive_rows_total", "Rows written", ["table"], registry=registry)
        self.set_aside_total = Counter(
            "hookline_archive_set_aside_total",
            "Records of which PostgreSQL takes neither rows nor a dead letter: only the log has them",
            ["topic"],
            registry=registry,
        )
        self.archive_batch_seconds = Histogram(
            "hookline_archive_batch_seconds",
            "Duration of one archive transaction",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.archive_batch_records = Histogram(
            "hookline_archive_batch_records", "Records per archive transaction", buckets=SIZE_BUCKETS, registry=registry
        )
        self.archive_partitions = Gauge(
            "hookline_archive_partitions", "Day partitions that exist", ["table"], registry=registry
        )
        self.archive_days_detached_total = Counter(
            "hookline_archive_days_detached_total", "Days taken out of the archive", registry=registry
        )
        self.archive_days_dropped_total = Counter(
            "hookline_archive_days_dropped_total", "Days taken out before and dropped now", registry=registry
        )
        self.archive_detached_days = Gauge(
            "hookline_archive_detached_days", "Days taken out that can be attached again", registry=registry
        )
        self.archive_days_due = Gauge(
            "hookline_archive_days_due",
            "Days older than they are kept, beyond what may leave at once",
            registry=registry,
        )
        self.archive_clock_offset_seconds = Gauge(
            "hookline_archive_clock_offset_seconds",
            "How far the host's clock is ahead of PostgreSQL's, and of the log's at its newest archived record",
            ["clock"],
            registry=registry,
        )
        self.archive_clocks_disagree = Gauge(
            "hookline_archive_clocks_disagree", "1: clocks differ, and no day leaves the archive", registry=registry
        )

        # ledger: in the archive process that counts
        self.unaccounted_deliveries = Gauge(
            "hookline_unaccounted_deliveries",
            "Deliveries that were matched and are neither ended nor in the log, at the last count",
            registry=registry,
        )
        self.unaccounted_events = Gauge(
            "hookline_unaccounted_events",
            "Events that were accepted and are neither matched, refused nor waiting, at the last count",
            registry=registry,
        )
        self.ledger_counted_timestamp_seconds = Gauge(
            "hookline_ledger_counted_timestamp_seconds",
            "When the ledger was last counted; 0: never by this process",
            registry=registry,
        )
        self.ledger_seconds = Gauge("hookline_ledger_seconds", "Duration of the last count", registry=registry)

        for topic in topics:
            self.missing_total.labels(topic)
            for known_to in ("reader", "writer"):
                self.lost_offsets_total.labels(topic, known_to)
            self.produce_failed_total.labels(topic)
            self.unreadable_records_total.labels(topic)
            self.records_refused_total.labels(topic)
            for kind in READ_FAULT_KINDS:
                self.read_faults_total.labels(topic, kind)
        for reason in DEAD_REASONS:
            self.dead_total.labels(reason)
        for mode in ("warn", "refuse"):
            self.schema_misfits_total.labels(mode)
        for reason in PARK_REASONS:
            self.parked_total.labels(reason)
        for source in PAYLOAD_SOURCES:
            self.payloads_read_total.labels(source)
        for result in ("ok", "superseded", "failed"):
            self.commits_total.labels(result)
