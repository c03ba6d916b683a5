"""The records that cross topics, as objects. Field for field the newest Avro schema of the same name (a test compares).

All `*_us` fields are microseconds since the epoch, UTC; all ids are lower-case hyphenated UUID strings.
`to_bytes` and `from_bytes` are the only way from one form to the other.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

import schemas
from schemas.codec import HEADER_BYTES


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record that has an Avro schema. Subclassed only here."""


class Event(Record, frozen=True, kw_only=True, gc=False):
    """A fact an application sent in."""

    application_id: str
    event_id: str
    event_type: str
    payload: bytes
    payload_content_type: str
    labels: dict[str, str]
    metadata: dict[str, str] = {}
    occurred_at_us: int
    received_at_us: int
    ip: str | None = None
    content_crc32: int | None = None  # `checksum.sum_content`; None: its producer gave none
    schema_version: int = -1  # of the JSON Schema it was checked against; 0: there was none; -1: not checked


class RoutesChanged(Record, frozen=True, kw_only=True, gc=False):
    """A marker: routes of at least this version apply from here on in the log."""

    application_id: str
    routes_version: int
    changed_at_us: int


class Dispatch(Record, frozen=True, kw_only=True, gc=False):
    """The deliveries that one event matched. `matches`: `{"subscription_id", "delivery_id"}` each."""

    application_id: str
    event_id: str
    event_type: str
    event_partition: int
    event_offset: int
    appended_at_us: int
    received_at_us: int
    matched_at_us: int
    routes_version: int
    matches: list[dict[str, str]]
    content_crc32: int | None = None


class Delivery(Record, frozen=True, kw_only=True, gc=False):
    """The intention to bring one event to one subscription."""

    delivery_id: str
    subscription_id: str
    application_id: str
    event_id: str
    event_type: str
    payload: bytes
    payload_content_type: str
    appended_at_us: int
    received_at_us: int
    matched_at_us: int
    attempt_number: int = 1
    due_at_us: int = 0
    hop_at_us: int = 0
    parked_times: int = 0
    schedule_from: int = 1
    content_crc32: int | None = None
    asked_at_us: int = 0  # when a person asked for this attempt; 0: not asked for
    routes_version: int = 0  # that it was matched with
    is_forced: bool = False  # this attempt is made also while its subscription is disabled
    payload_partition: int = -1  # of the event's record, which has the payload; -1: it is in here
    payload_offset: int = -1
    payload_bytes: int = 0  # the payload's size where it is not in here


class Bundle(Record, frozen=True, kw_only=True, gc=False):
    """Deliveries of one event to several subscriptions. `subscriptions`: `{"subscription_id"}` each."""

    application_id: str
    event_id: str
    event_type: str
    payload: bytes
    payload_content_type: str
    appended_at_us: int
    received_at_us: int
    matched_at_us: int
    routes_version: int
    content_crc32: int
    payload_partition: int
    payload_offset: int
    payload_bytes: int
    subscriptions: list[dict[str, str]]


class Attempt(Record, frozen=True, kw_only=True, gc=False):
    """One HTTP request made for a delivery, or its cancelling. `outcome`: succeeded, failed or cancelled."""

    attempt_id: str
    attempt_number: int
    delivery_id: str
    subscription_id: str
    application_id: str
    event_id: str
    event_type: str
    appended_at_us: int
    outcome: str
    error_class: str | None
    error_detail: str | None
    queued_at_us: int
    started_at_us: int
    finished_at_us: int
    request_method: str
    request_url: str
    request_headers: dict[str, str]
    response_status: int | None
    response_headers: dict[str, str] = {}
    response_body: bytes = b""
    timings_us: dict[str, int] = {}
    next_due_at_us: int | None
    source_topic: str
    source_partition: int
    source_offset: int


class DeadLetter(Record, frozen=True, kw_only=True, gc=False):
    """A delivery that was given up, or a record that could not be read."""

    dead_id: str
    reason: str
    detail: str
    source_topic: str
    source_partition: int
    source_offset: int
    source_appended_at_us: int
    source_key: bytes | None
    source_value: bytes | None
    application_id: str | None = None
    subscription_id: str | None = None
    delivery_id: str | None = None
    event_id: str | None = None
    died_at_us: int
    source_headers: list[dict[str, Any]] = []


class RoutesPart(Record, frozen=True, kw_only=True, gc=False):
    """One subscription, event type or application secret of an application's routes, by `kind` and `name`.

    It applies with the next `RoutesHead` of the application. Fields with defaults are a subscription's; those of
    schemas are an event type's.
    """

    application_id: str
    kind: str
    name: str
    created_version: int
    version: int
    enabled: bool = True
    event_types: list[str] = []
    labels: dict[str, str] = {}
    payload_filter: str | None = None  # JSON: `pipeline.core.routing.payload_filter`
    payload_schema: str | None = None  # JSON: `pipeline.core.routing.payload_schema`
    schema_mode: str = "off"
    schema_version: int = 0


class RoutesHead(Record, frozen=True, kw_only=True, gc=False):
    """An application's routes have this version: the parts before it in the partition apply.

    `change_id`: which change brought it. `control_plane_id`, `epoch`: of the database that published it.
    """

    application_id: str
    organization_id: str
    version: int
    change_id: str
    changed_at_us: int
    deleted: bool
    control_plane_id: str
    epoch: int


class Routes(Record, frozen=True, kw_only=True, gc=False):
    """An application's routes in one record, as releases before `RoutesPart` published them: still read, not written.

    `subscriptions`: `{"subscription_id", "enabled", "event_types": [str], "labels": {str: str}}` each;
    `secret_hashes`: SHA-256 of each valid application secret (of the 36 ASCII characters of the UUID).
    """

    application_id: str
    organization_id: str
    version: int
    changed_at_us: int
    deleted: bool
    event_types: list[str]
    subscriptions: list[dict[str, Any]]
    secret_hashes: list[bytes]


class EndpointState(Record, frozen=True, kw_only=True, gc=False):
    """Endpoint health, published on change. A timestamp of 0 means "not set".

    `disable_reason`: why its subscription should be disabled (gone, failing); None: it should not.
    `failed_for_us`: how long it has failed, of `failures` attempts, on a monotonic clock.
    `certificate_warned_at_us`: when the last warning about `certificate_expires_at_us` was due.
    """

    subscription_id: str
    application_id: str
    endpoint_version: int
    changed_at_us: int
    failing_since_us: int = 0
    opened_until_us: int = 0
    last_error: str | None = None
    disable_reason: str | None = None
    certificate_expires_at_us: int = 0
    certificate_warned_at_us: int = 0
    failed_for_us: int = 0
    failures: int = 0


class Endpoint(Record, frozen=True, kw_only=True, gc=False):
    """The current facts needed to send to a subscription.

    `secrets`: `{"key_id", "sealed": bytes, "valid_until_us": int | None}` each, the current one first.
    `held_until_us`: disabled by Hookline; what waits is kept until then, in case its owner enables it again.
    `tls_client_key`: `{"key_id", "sealed": bytes}`, a PEM, sealed in the context `name_client_key_context` gives.
    """

    subscription_id: str
    application_id: str
    version: int
    enabled: bool
    deleted: bool
    cancel_before_us: int = 0
    cancel_before_version: int = 0
    method: str
    url: str
    headers: dict[str, str]
    secrets: list[dict[str, Any]]
    retry_delays_s: list[float] | None = None
    rate_per_s: float | None = None
    concurrency_max: int | None = None
    total_timeout_s: float | None = None
    connect_timeout_s: float | None = None
    gives_up_on_client_errors: bool = False
    tls_ca_pem: str | None = None
    tls_client_cert_pem: str | None = None
    tls_client_key: dict[str, Any] | None = None
    held_until_us: int = 0
    event_format: str = "plain"


class Probe(Record, frozen=True, kw_only=True, gc=False):
    """Shows its writer that a topic takes records. Means nothing to readers."""

    process: str
    written_at_us: int


class RepublishAsked(Record, frozen=True, kw_only=True, gc=False):
    """`process` cannot read all of `topic`, which the gateways publish: they publish all applications again."""

    process: str
    topic: str
    asked_at_us: int


class OpenRequests(Record, frozen=True, kw_only=True, gc=False):
    """Requests of `process` that have been open for a while: `attempt_id`, `started_at_us`, `until_us` of each."""

    process: str
    requests: list[dict[str, Any]]


def name_client_key_context(subscription_id: str) -> str:
    """The sealing context of a client certificate's private key, different from that of the subscription's secret."""
    return f"{subscription_id}/tls-client-key"


CLASSES: dict[str, type[Record]] = {
    "event": Event,
    "routes_changed": RoutesChanged,
    "dispatch": Dispatch,
    "delivery": Delivery,
    "bundle": Bundle,
    "attempt": Attempt,
    "dead_letter": DeadLetter,
    "routes": Routes,
    "routes_part": RoutesPart,
    "routes_head": RoutesHead,
    "endpoint": Endpoint,
    "endpoint_state": EndpointState,
    "probe": Probe,
    "republish_asked": RepublishAsked,
    "open_requests": OpenRequests,
}
NAMES: dict[type[Record], str] = {record: name for name, record in CLASSES.items()}

ENCODERS: dict[type[Record], Callable[[Any], bytes]] = {
    record: schemas.compile_encoder(name, msgspec.structs.asdict) for record, name in NAMES.items()
}

# Version 0 of these is not to write them: the release before does not know them, and nothing depends on them.
DISPENSABLE = frozenset({"bundle", "open_requests"})

T = TypeVar("T", bound=Record)


VERSIONS_WRITTEN: dict[type[Record], int] = {}  # older ones than the newest


class RecordVersionError(ValueError):
    """Records cannot be written so; the message says why."""


def write_as(versions: Mapping[str, int]) -> None:
    """Write these records (by name) in older versions of their schemas from now on, in the whole process.

    For the time in which an installation has processes of two releases: readers know the versions of their release and
    of those before. Raises `RecordVersionError`.
    """
    for name, version in versions.items():
        record = CLASSES.get(name)
        if record is None:
            raise RecordVersionError(f"there is no record {name!r}; known: {', '.join(CLASSES)}")
        if version == 0 and name in DISPENSABLE:
            ENCODERS.pop(record, None)
            continue
        try:
            older = schemas.compile_encoder(name, msgspec.structs.asdict, version)
        except KeyError:
            known = ", ".join(str(each) for each in schemas.list_versions(name))
            raise RecordVersionError(f"the record {name} has no version {version}; known: {known}") from None
        ENCODERS[record] = older if record is not Delivery else _keep_claim_checks(older)
        VERSIONS_WRITTEN[record] = version


def _keep_claim_checks(older: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """A delivery whose payload is elsewhere is written as the newest version: older ones would drop where that is."""
    newest = schemas.compile_encoder("delivery", msgspec.structs.asdict)
    return lambda delivery: newest(delivery) if delivery.payload_offset >= 0 else older(delivery)


def written_version(record: type[Record]) -> int:
    """The version of the schema that such records are written in."""
    return VERSIONS_WRITTEN.get(record) or schemas.list_versions(NAMES[record])[-1]


def is_written(record: type[Record]) -> bool:
    """Does this process write such records? Not if `write_as` left them out."""
    return record in ENCODERS


def to_bytes(record: Record) -> bytes:
    """Encode for Kafka: Avro single-object encoding."""
    return ENCODERS[type(record)](record)


def from_bytes(value: bytes) -> Record:
    """Decode any record. Raises `schemas.SchemaError`."""
    name, fields = schemas.decode(value)
    return CLASSES[name](**fields)


PROBE_HEADER = to_bytes(Probe(process="", written_at_us=0))[:HEADER_BYTES]


def is_probe(value: bytes | None) -> bool:
    """Was this record written only to see whether it can be? It has no meaning for readers."""
    return value is not None and value.startswith(PROBE_HEADER)


def expect(record_type: type[T], value: bytes) -> T:
    """Decode a record that must be of `record_type`. Raises `schemas.SchemaError`."""
    record = from_bytes(value)
    if not isinstance(record, record_type):
        raise schemas.SchemaError(f"a {type(record).__name__} where a {record_type.__name__} belongs")
    return record
