"""Every setting, once: its type, unit, default and bounds. Read in `main()`, handed down by argument.

A setting is an environment variable `HOOKLINE_<SECTION>_<NAME>`; an unknown one is an error, so that a typing mistake
does not silently leave a default in force.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from pipeline.core.network import ports
from pipeline.core.network.addresses import parse_networks
from pipeline.core.network.proxy import parse_proxy
from pipeline.core.network.service_links import is_service_link
from pipeline.core.network.smtp_url import parse_smtp_url

PREFIX = "HOOKLINE_"
MIB = 1024 * 1024

Port = Annotated[int, Field(ge=0, le=65_535)]


class ConfigError(ValueError):
    """A setting is missing, unknown or out of bounds. The message names the variable and what it takes."""


class Section(BaseModel):
    """A group of settings that share a prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaConfig(Section):
    """HOOKLINE_KAFKA_*: the log."""

    bootstrap_servers: str = Field("127.0.0.1:9092", description="host:port[,host:port]")
    username: str | None = Field(None, description="SASL user; none: no authentication")
    password: SecretStr | None = Field(None, description="SASL password")
    sasl_mechanism: str = Field("SCRAM-SHA-512", description="SASL mechanism, used when a username is given")
    tls: bool = Field(False, description="speak TLS to the brokers")
    ca_file: Path | None = Field(
        None, description="CA certificates the brokers are checked against; none: the system's"
    )
    topic_prefix: str = Field("hookline.", pattern=r"^[a-zA-Z0-9._-]*$", description="start of every topic name")
    partitions: int = Field(8, ge=1, le=1024, description="partitions of every topic; fixed once created")
    replication_factor: int = Field(1, ge=1, le=9, description="replicas of every topic, for `topics apply`")
    event_retention_s: int = Field(7 * 86_400, ge=3600, description="how long the log keeps events, in seconds")
    record_max_bytes: int = Field(4 * MIB, ge=64 * 1024, le=64 * MIB, description="largest record")
    batch_unpacked_max_bytes: int = Field(
        256 * MIB,
        ge=64 * MIB,
        le=1024 * MIB,
        description="a batch of records may come to so much unpacked; one that does not is stepped over",
    )
    produce_timeout_s: float = Field(5.0, gt=0, le=300, description="give up waiting for an acknowledgement after")
    produce_buffer_max_bytes: int = Field(64 * MIB, ge=MIB, description="records waiting for acknowledgement, in all")
    topics_check_interval_s: float = Field(
        30.0, gt=0, le=3600, description="how often topics are tried and their settings compared"
    )
    session_timeout_s: float = Field(10.0, ge=6, le=300, description="a silent group member loses its partitions after")
    record_versions: dict[str, int] = Field(
        {},
        description="records to be written in older versions during an upgrade: `event=2 endpoint=2`; none: the newest",
    )

    @field_validator("record_versions", mode="before")
    @classmethod
    def _split_versions(cls, value: object) -> object:
        return dict(each.partition("=")[::2] for each in value.split()) if isinstance(value, str) else value


class DatabaseConfig(Section):
    """HOOKLINE_DATABASE_*: PostgreSQL, the control plane and the archive."""

    write_url: SecretStr = Field(SecretStr("postgresql:///hookline"), description="libpq URL of the primary")
    read_urls: tuple[SecretStr, ...] = Field((), description="libpq URLs of read replicas, separated by spaces")
    pool_size: int = Field(50, ge=1, le=1000, description="connections of a gateway to a server, at most")
    pool_min_size: int = Field(
        10, ge=1, le=1000, description="connections of a gateway that stay open; pool_size at most"
    )
    pool_acquire_timeout_s: float = Field(
        30.0, gt=0, le=300, description="give up waiting for a free connection after; at once while the server is away"
    )
    pool_idle_s: float = Field(
        600.0, ge=1, le=86_400, description="a connection above the minimum, unused, is closed after"
    )
    pool_lifetime_s: float = Field(1800.0, ge=10, le=86_400, description="a connection is replaced after")
    replica_lag_max_s: float = Field(
        10.0, ge=1, le=3600, description="a read replica that is further behind is not read from until it has caught up"
    )
    connect_timeout_s: float = Field(5.0, gt=0, le=60, description="give up connecting after")
    statement_timeout_s: float = Field(30.0, gt=0, le=3600, description="give up a statement after")

    @field_validator("read_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @property
    def is_given(self) -> bool:
        """Was the primary named, or is it the default?"""
        return "write_url" in self.model_fields_set


class GatewayConfig(Section):
    """HOOKLINE_GATEWAY_*: the HTTP API."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(8080, description="port to listen on; 0: any free one")
    public_url: str | None = Field(None, description="address clients see, for links; none: host and port")
    master_api_key: UUID | None = Field(None, description="a UUID that may do everything; none: no such key")
    body_max_bytes: int = Field(5 * MIB, ge=1024, le=64 * MIB, description="largest request body")
    request_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="give up a request whose head, or whose body, has not arrived after"
    )
    payload_max_chars: int = Field(699_050, ge=1, description="longest payload of an event, in characters")
    in_flight_max: int = Field(
        10_000,
        ge=1,
        description="events waiting for their acknowledgement, shared by organizations: one has half at most, "
        "and gets a 503 for more",
    )
    ahead_max_records: int = Field(
        20_000, ge=1, le=1_000_000, description="events read ahead, from which applications take turns"
    )
    ahead_max_bytes: int = Field(32 * MIB, ge=MIB, description="the same, in bytes; bounds memory")
    recent_ids_max: int = Field(200_000, ge=0, description="event ids remembered to answer 409 without a look-up")
    lookup_timeout_s: float = Field(0.5, gt=0, le=10, description="give up asking the archive for an event id after")
    archive_wait_s: float = Field(2.0, ge=0, le=30, description="how long a read waits for the archive to catch up")
    exports_max: int = Field(
        4, ge=1, le=100, description="exports running at once, half of them of one organization; one more gets a 503"
    )
    disabled_hold_s: float = Field(
        86_400.0,
        ge=0,
        le=7 * 86_400,
        description="what waits for a subscription that Hookline disabled is kept so long, to be delivered if enabled",
    )
    subscriptions_max: int = Field(10_000, ge=1, description="subscriptions of one application; bounds the fan-out")
    rate_per_s: float = Field(0, ge=0, le=1e9, description="API requests of all callers, in the long run; 0: unlimited")
    burst: int = Field(2000, ge=1, description="API requests of all callers at once, where they are limited")
    address_rate_per_s: float = Field(
        0, ge=0, le=1e9, description="API requests of one address, in the long run; 0: unlimited"
    )
    address_burst: int = Field(200, ge=1, description="API requests of one address at once, where they are limited")
    token_rate_per_s: float = Field(
        0, ge=0, le=1e9, description="API requests with one token, in the long run; 0: unlimited"
    )
    token_burst: int = Field(20, ge=1, description="API requests with one token at once, where they are limited")
    cors_origins: str = Field(
        "", description="origins whose pages may use the API, separated by spaces, `*` for all; none: no page may"
    )
    hsts_max_age_s: int = Field(
        0,
        ge=0,
        description="how long browsers use nothing but HTTPS with this host (Strict-Transport-Security); 0: off",
    )
    drain_s: float = Field(
        5.0,
        ge=0,
        le=600,
        description="after SIGTERM, not ready, requests are still served for so long: the balancer's time to notice",
    )
    trusted_proxies: str = Field(
        "",
        description="networks of the proxies in front, separated by spaces; only they are believed who the client is",
    )
    proxy_header: str = Field(
        "X-Forwarded-For",
        pattern="^(X-Forwarded-For|Forwarded)$",
        description="the header in which they say so: X-Forwarded-For or Forwarded (RFC 7239)",
    )
    health_key: SecretStr | None = Field(
        None, description="key that `GET /api/v1/health` requires as `?key=…`; none: every caller may ask"
    )
    producer_topics: bool = Field(
        False,
        description="read producers' topics, `hookline.in.<application id>`",
    )
    schema_registry_url: SecretStr | None = Field(
        None,
        description="Confluent schema registry for producers' topics, `https://user:password@host`",
    )
    schema_registry_timeout_s: float = Field(5.0, gt=0, le=60, description="give up asking the schema registry after")
    schema_registry_unknown_ttl_s: float = Field(
        30.0, ge=0, le=3600, description="an id that the schema registry does not know is asked for again after"
    )
    audit_retention_days: int = Field(
        365, ge=30, le=36_500, description="days that the audit log is kept; PostgreSQL refuses to delete younger rows"
    )
    auth_cache_ttl_s: float = Field(5.0, ge=0, le=300, description="how long a look-up of an unknown token is kept")

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        parse_networks(value)
        return value


class AccountsConfig(Section):
    """HOOKLINE_ACCOUNTS_*: people who log in."""

    registration: bool = Field(
        False, description="open registration of users; needs e-mail. Else only the master key creates users"
    )
    password_min_chars: int = Field(12, ge=8, le=100, description="shortest password")
    access_ttl_s: int = Field(900, ge=10, le=86_400, description="how long an access token is valid")
    refresh_ttl_s: int = Field(
        7 * 86_400, ge=60, le=365 * 86_400, description="how long an unused session can be renewed"
    )
    verify_ttl_s: int = Field(
        86_400, ge=60, le=30 * 86_400, description="how long a link that verifies an e-mail address is valid"
    )
    reset_ttl_s: int = Field(3600, ge=60, le=86_400, description="how long a link to set a new password is valid")
    account_rate_per_s: float = Field(
        0.02, gt=0, le=1e6, description="logins and e-mails of one e-mail address, in the long run, at each gateway"
    )
    account_burst: int = Field(10, ge=1, description="logins and e-mails of one e-mail address at once")
    address_rate_per_s: float = Field(
        0.2,
        gt=0,
        le=1e9,
        description="logins, registrations and e-mails asked for from one IP address, in the long run",
    )
    address_burst: int = Field(60, ge=1, description="the same, at once")
    hashes_at_once: int = Field(
        2, ge=1, le=64, description="passwords hashed at once; each takes a processor and 64 MiB for some 50 ms"
    )
    app_url: str | None = Field(
        None,
        description="where links in e-mails lead, `/verify-email` and `/reset-password` below it; none: only codes",
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="smtps://[user:password@]host[:465], smtp://…[:587] with STARTTLS, or smtp+plain://…[:25] for a "
        "relay on this machine; none: no e-mails",
    )
    smtp_timeout_s: float = Field(10.0, gt=0, le=300, description="give up handing over an e-mail after")
    mail_from: str = Field("Hookline <noreply@localhost>", description="sender of e-mails")
    oidc_issuer: str | None = Field(
        None,
        pattern="^https?://.+",
        description="issuer of the OpenID provider that users can log in at, with HOOKLINE_GATEWAY_PUBLIC_URL; "
        "none: no such login",
    )
    oidc_client_id: str = Field("hookline", min_length=1, description="what Hookline is called at the OpenID provider")
    oidc_client_secret: SecretStr | None = Field(
        None, description="secret of this client there; none: a public client, by PKCE alone"
    )
    oidc_registration: bool = Field(
        False, description="whom the OpenID provider knows becomes a user with the first login; else users must exist"
    )
    support_email: str = Field("", description="address that `GET /instance` shows for support")

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_smtp_url(value.get_secret_value())
        return value


class QuotasConfig(Section):
    """HOOKLINE_QUOTAS_*: what organizations and applications may use."""

    members_per_organization: int | None = Field(None, ge=1, description="members of one organization; none: 10,000")
    applications_per_organization: int | None = Field(
        None, ge=1, description="applications of one organization; none: any number"
    )
    events_per_day: int | None = Field(
        None,
        ge=1,
        description="events of one application a day (UTC), over HTTP and from producers' topics; none: any number",
    )
    event_types_per_application: int | None = Field(
        None, ge=1, description="active event types of one application; none: any number"
    )

    @property
    def are_on(self) -> bool:
        return any(limit is not None for limit in self.model_dump().values())


class MatcherConfig(Section):
    """HOOKLINE_MATCHER_*: events to deliveries."""

    chunk_max_records: int = Field(2000, ge=1, le=100_000, description="events taken from a fetch in one step")
    commit_interval_s: float = Field(0.5, gt=0, le=60, description="how often the watermark is committed")
    routes_wait_s: float = Field(
        10.0, gt=0, le=300, description="how long a RoutesChanged marker waits for its version"
    )
    ahead_max_records: int = Field(
        20_000, ge=1, le=1_000_000, description="events read ahead, from which applications take turns"
    )
    ahead_max_bytes: int = Field(32 * MIB, ge=MIB, description="the same, in bytes; bounds memory")
    recent_ids_max: int = Field(200_000, ge=0, description="event ids remembered to match a repeated event only once")
    chunks_in_flight_max: int = Field(32, ge=1, le=1000, description="chunks waiting for their acknowledgements")
    routes_history_max: int = Field(16, ge=1, le=1000, description="older versions of an application's routes kept")
    unsettled_max: int = Field(
        8000,
        ge=200,
        description="deliveries that deliver has not settled, of which no application may have more than is free: what "
        "it has beyond that waits in a retry topic; twice what deliver settles a second where that is more",
    )
    payload_inline_max_bytes: int = Field(
        64 * 1024,
        ge=0,
        description="deliveries carry a payload up to this size; of a larger one they name the event, which has it",
    )


class WorkerConfig(Section):
    """HOOKLINE_WORKER_*: what a sink process holds at once."""

    concurrency: int = Field(8, ge=1, le=100, description="requests in flight to one endpoint at the start")
    batch_size: int = Field(100, ge=1, le=10_000, description="records fetched in one step")
    max_connections: int = Field(1000, ge=1, le=50_000, description="HTTP requests in flight per process")
    in_flight_max: int = Field(10_000, ge=1, description="records taken and not settled, per process")
    in_flight_max_bytes: int = Field(64 * MIB, ge=MIB, description="the same, in bytes; bounds memory")
    lane_max_records: int = Field(500, ge=1, description="more waiting in one lane than this, and than in others, park")
    parked_rate_min_per_s: float = Field(
        50.0, gt=0, le=10_000, description="parked deliveries started a second, however long new ones have to wait"
    )
    commit_interval_s: float = Field(0.5, gt=0, le=60, description="how often the watermark is committed")
    commit_all_interval_s: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="how often the unchanged is committed again; keep it well below the broker's offset retention",
    )
    shutdown_grace_s: float = Field(20.0, gt=0, le=600, description="how long requests in flight may take to end")
    rebalance_grace_s: float = Field(3.0, gt=0, le=60, description="the same, when partitions go to another process")
    stuck_after_s: float = Field(
        600.0, gt=0, le=86_400, description="work in flight and nothing settled for so long: unhealthy"
    )
    stalled_after_s: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="work could be started and none was, or nothing was read because too much is in flight, for so "
        "long: unhealthy",
    )
    recent_ids_max: int = Field(200_000, ge=0, description="attempt ids remembered to skip a repeated delivery")


class DeliverConfig(Section):
    """HOOKLINE_DELIVER_*: requests to customers' endpoints."""

    connect_timeout_s: float = Field(5.0, gt=0, le=60, description="give up connecting after")
    total_timeout_s: float = Field(15.0, gt=0, le=300, description="give up the request, body included, after")
    response_body_max_bytes: int = Field(
        16 * 1024, ge=0, le=MIB, description="response body kept; the rest is not read"
    )
    response_headers_max_bytes: int = Field(16 * 1024, ge=1024, le=MIB, description="response headers kept")
    allow_private_addresses: bool = Field(
        False, description="deliver to loopback, private addresses, local names, and all ports: for trying and testing"
    )
    denied_networks: str = Field(
        "", description="never deliver to these networks either (pods, services), separated by spaces"
    )
    allowed_ports: str = Field(
        ports.ALLOWED, description="ports and ranges of ports to deliver to, separated by spaces"
    )
    denied_ports: str = Field(
        ports.DENIED, description="except these: databases, brokers, control planes, separated by spaces"
    )
    allow_plain_http: bool = Field(True, description="deliver to http:// as well as to https://")
    egress_proxy_url: SecretStr | None = Field(
        None,
        description="http://[user:password@]host:port all requests go through by CONNECT; names are then resolved by "
        "the proxy, and so is checked by the proxy what they stand for; by us only addresses and local names in URLs",
    )
    lookups_max: int = Field(
        256,
        ge=8,
        le=4096,
        description="names looked up at a time; an eighth for one domain, half for slow ones, and for one "
        "application three times what is still free",
    )
    idle_connections_max: int = Field(2000, ge=0, le=50_000, description="connections kept open for another request")
    destination_rate_per_s: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="requests to one host and port, shared by the applications that have some; 0: any",
    )
    destination_connections_max: int = Field(
        0, ge=0, le=50_000, description="requests in flight to one host and port per process; 0: any number"
    )
    hop_name: str = Field(
        "hookline", max_length=200, description="name of this deployment; its hash marks requests, to detect loops"
    )
    disable_after_s: float = Field(
        5 * 86_400, gt=0, le=365 * 86_400, description="disable a subscription that fails for so long without a success"
    )
    certificate_warning_days: int = Field(
        14,
        ge=0,
        le=365,
        description="tell a subscription's owner that its endpoint's certificate expires within so many days, once a "
        "day; 0: do not",
    )
    egress_window_s: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="endpoints with an outcome in this time are active, for suspecting ourselves",
    )
    signature_header: str = Field("X-Hook0-Signature", description="name of the Hook0 signature header")
    signature_versions: tuple[str, ...] = Field(("v1",), description="v0, v1 or both, separated by spaces")
    sign_asymmetrically: bool = Field(
        False,
        description="sign with Ed25519 as well (`v1a` of Standard Webhooks), which receivers verify by a public key",
    )
    spool_max_bytes: int = Field(
        256 * MIB,
        ge=MIB,
        le=16 * 1024 * MIB,
        description="payloads that deliveries do not carry are kept in a mapped file of this size, per process",
    )
    spool_dir: Path | None = Field(
        None, description="directory of that file, which has no name; none: the system's own for temporary files"
    )

    @field_validator("signature_versions", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("denied_networks")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        parse_networks(value)
        return value

    @field_validator("allowed_ports", "denied_ports")
    @classmethod
    def _check_ports(cls, value: str) -> str:
        ports.parse_ports(value)
        return value

    @field_validator("egress_proxy_url")
    @classmethod
    def _check_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_proxy(value.get_secret_value())
        return value


class ArchiveConfig(Section):
    """HOOKLINE_ARCHIVE_*: what happened, in PostgreSQL."""

    batch_max_records: int = Field(5000, ge=1, le=100_000, description="rows written in one transaction")
    linger_s: float = Field(
        0.1, ge=0, le=5, description="records may wait this long for a batch to fill; reads that wait for them do too"
    )
    retention_days: int = Field(30, ge=1, le=3650, description="days kept; older ones are taken out, then dropped")
    drop_max_days: int = Field(
        2, ge=1, le=3650, description="days that may be taken out within an hour, and as many dropped"
    )
    detached_hours: int = Field(
        72, ge=0, le=8760, description="how long a day taken out can be attached again before it is dropped, in hours"
    )
    clock_tolerance_s: float = Field(
        300.0, gt=0, le=86_400, description="no day leaves while the clocks of host, PostgreSQL and log differ by more"
    )
    days_ahead: int = Field(3, ge=1, le=60, description="day partitions created ahead")
    ledger_interval_s: float = Field(
        300.0, ge=0, le=86_400, description="how often one archive process counts the ledger; 0: never"
    )
    compress_min_bytes: int = Field(1024, ge=0, description="bodies of this size or more are compressed")


class SealingConfig(Section):
    """HOOKLINE_SEALING_*: the keys that secrets are sealed with."""

    key_file: Path | None = Field(None, description="file of `id:base64` lines, 32 bytes each; the first one seals")
    keys: SecretStr | None = Field(None, description="the same lines, separated by spaces, instead of a file")
    seal_with: str | None = Field(
        None,
        description="id of the key that seals; none: the first one. Give a new key to all processes before it seals",
    )


class EmbeddedConfig(Section):
    """HOOKLINE_EMBEDDED_*: Kafka and PostgreSQL from packages, for `hookline up` and the tests."""

    cache_dir: Path | None = Field(None, description="where downloaded parts are kept; none: ~/.cache/hookline")
    kafka_heap_mib: int = Field(512, ge=128, le=16_384, description="Kafka's heap")


class ProcessConfig(Section):
    """HOOKLINE_PROCESS_*: what every process has."""

    metrics_host: str = Field("127.0.0.1", description="address of /health and /metrics")
    metrics_port: Port = Field(0, description="port of /health and /metrics; 0: any free one")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")
    log_format: str = Field("auto", pattern="^(auto|text|json)$", description="text, json; auto: text on a terminal")
    parent_watch_fd: int | None = Field(None, ge=0, description="stop when this inherited file descriptor is closed")
    start_fd: int | None = Field(
        None, ge=0, description="get ready to start, and begin when this inherited pipe's other end is closed"
    )
    stop_timeout_s: float = Field(
        28.0,
        gt=0,
        le=3600,
        description="end hard so long after a signal to stop, whatever hangs; the workers' grace and 8 s at least",
    )
    kill_at: str | None = Field(
        None, pattern="^[a-z_]+:[1-9][0-9]*$", description="for crash tests: `point:n`, die when there the n-th time"
    )
    fail_at: str | None = Field(
        None, pattern="^[a-z_]+$", description="for crash tests: the task of the process that fails after its start"
    )
    run_dir: Path | None = Field(
        None,
        description="write <name>.json with the addresses here when ready, and remember members of groups past a crash",
    )


class MetricsConfig(Section):
    """HOOKLINE_METRICS_*: how figures are called."""

    namespace: str = Field(
        "hookline",
        pattern="^[a-z][a-z0-9]*$",
        description="first word of every metric; rules and dashboards say hookline",
    )


class TracingConfig(Section):
    """HOOKLINE_TRACING_*: spans of what happens to each event. Where they go, and how many: `OTEL_*`."""

    enabled: bool = Field(False, description="make spans and export them by OTLP over HTTP; needs hookline[tracing]")
    to_receivers: bool = Field(
        False, description="send `traceparent` with deliveries, so that a receiver's spans join the trace"
    )


class Settings(Section):
    """All settings of one process."""

    kafka: KafkaConfig = KafkaConfig()
    database: DatabaseConfig = DatabaseConfig()
    gateway: GatewayConfig = GatewayConfig()
    accounts: AccountsConfig = AccountsConfig()
    quotas: QuotasConfig = QuotasConfig()
    matcher: MatcherConfig = MatcherConfig()
    worker: WorkerConfig = WorkerConfig()
    deliver: DeliverConfig = DeliverConfig()
    archive: ArchiveConfig = ArchiveConfig()
    sealing: SealingConfig = SealingConfig()
    embedded: EmbeddedConfig = EmbeddedConfig()
    metrics: MetricsConfig = MetricsConfig()
    tracing: TracingConfig = TracingConfig()
    process: ProcessConfig = ProcessConfig()


def list_variables() -> dict[str, str]:
    """Environment variable name → what it means, for every setting."""
    return {
        _name_variable(section, name): field.description or ""
        for section, model in _sections().items()
        for name, field in model.model_fields.items()
    }


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read every `HOOKLINE_*` variable of `environ`.

    What Kubernetes sets for a service called `hookline-…` is no setting and is passed over.

    Raises `ConfigError` for an unknown variable (with the nearest known name) or a value out of bounds.
    """
    values: dict[str, dict[str, str]] = {}
    places = {_name_variable(s, n): (s, n) for s, model in _sections().items() for n in model.model_fields}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or is_service_link(variable, value):
            continue
        if variable not in places:
            raise ConfigError(_describe_unknown(variable, list(places)))
        section, name = places[variable]
        values.setdefault(section, {})[name] = value
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_describe_invalid(error)) from None


def _sections() -> dict[str, type[Section]]:
    found: dict[str, type[Section]] = {}
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type)  # noqa: S101 - a section is a class, by the fields above
        assert issubclass(field.annotation, Section)  # noqa: S101 - and one of ours
        found[name] = field.annotation
    return found


def _name_variable(section: str, name: str) -> str:
    return f"{PREFIX}{section}_{name}".upper()


def _describe_unknown(variable: str, known: list[str]) -> str:
    # without the prefix, which alone would make any two of them alike
    names = {name.removeprefix(PREFIX): name for name in known}
    near = difflib.get_close_matches(variable.removeprefix(PREFIX), names, n=1)
    hint = f"did you mean {names[near[0]]}?" if near else "`hookline settings` lists the known ones."
    return f"{variable} is not a setting: {hint}"


def _describe_invalid(error: ValidationError) -> str:
    def describe(problem: Mapping[str, Any]) -> str:
        section, name = (str(part) for part in problem["loc"][:2])
        return f"{_name_variable(section, name)}: {problem['msg']} ({list_variables()[_name_variable(section, name)]})"

    return "; ".join(describe(dict(problem)) for problem in error.errors(include_input=False))
