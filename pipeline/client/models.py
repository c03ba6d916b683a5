"""Bodies and answers. Written by `make docs` from the API's document; change the gateway's operations."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class EventForm(TypedDict):
    """The body."""

    event_type: str
    payload: str
    payload_content_type: str
    occurred_at: str
    labels: dict[str, str]
    event_id: NotRequired[str | None]
    metadata: NotRequired[dict[str, str] | None]
    application_id: str


class EventAccepted(TypedDict):
    """The event is in the log. `warning`: how its payload does not fit a schema that only warns."""

    application_id: str
    event_id: str
    received_at: str
    warning: NotRequired[str]


class BatchForm(TypedDict):
    """The body."""

    application_id: str
    events: list[Any]


class BatchShown(TypedDict):
    """A result for each event, in their order."""

    application_id: str
    results: list[dict[str, Any]]


class CloudEventForm(TypedDict):
    """A CloudEvent in the structured mode; further members are extension attributes."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    time: NotRequired[str | None]
    subject: NotRequired[str | None]
    datacontenttype: NotRequired[str | None]
    dataschema: NotRequired[str | None]
    data: NotRequired[Any]
    data_base64: NotRequired[str | None]


class HealthReport(TypedDict):
    """The answer of `GET /health`. Durations are null for what this instance does not have."""

    database: bool
    database_duration_ms: int
    kafka: bool
    kafka_duration_ms: int
    object_storage: None
    object_storage_duration_ms: None
    problems: dict[str, str]
    pulsar: None
    pulsar_duration_ms: None
    total_duration_ms: int


class VariableShown(TypedDict):
    """A setting, without what it is set to."""

    default: str | None
    description: str
    env_var: str
    group: str
    name: str
    required: bool
    sensitive: bool


class ProblemShown(TypedDict):
    """A problem document. `validation`: by field, nested as the body is, lists of code, message and params."""

    detail: str
    id: str
    status: int
    title: str
    type: str
    validation: dict[str, Any] | None


class InstanceShown(TypedDict):
    """The first request of a dashboard: what this instance offers."""

    application_secret_compatibility: bool
    auto_db_migration: bool
    biscuit_public_key: str
    cloudflare_turnstile_site_key: str | None
    formbricks: dict[str, Any] | None
    matomo: dict[str, Any] | None
    password_minimum_length: int
    quota_enforcement: bool
    registration_disabled: bool
    support_email_address: str | None


class InstanceQuotas(TypedDict):
    """Whether quotas are on, and their values."""

    enabled: bool
    limits: LimitsShown


class LimitsShown(TypedDict):
    """Limits of the instance; 2147483647: not limited."""

    global_applications_per_organization_limit: int
    global_days_of_events_retention_limit: int
    global_event_types_per_application_limit: int
    global_events_per_day_limit: int
    global_members_per_organization_limit: int
    global_subscriptions_per_application_limit: int


class RegistrationForm(TypedDict):
    """The body of a registration. `turnstile_token` of Hook0's form is not looked at."""

    first_name: str
    last_name: str
    email: str
    password: str


class RegistrationShown(TypedDict):
    """A new user, and the organization of which it is the editor."""

    organization_id: str
    user_id: str


class LinkForm(TypedDict):
    """The body with what a link carried."""

    token: str


class SessionShown(TypedDict):
    """A session's tokens, and whose they are."""

    access_token: str
    access_token_expiration: str
    email: str
    first_name: str
    last_name: str
    refresh_token: str
    refresh_token_expiration: str
    user_id: str


class EmailForm(TypedDict):
    """The body that asks for an e-mail."""

    email: str


class LoginForm(TypedDict):
    """The body of a login."""

    email: str
    password: str


class PasswordForm(TypedDict):
    """The body that sets the caller's password."""

    new_password: str


class ResetForm(TypedDict):
    """The body that sets a password by a link."""

    token: str
    new_password: str


class UserShown(TypedDict):
    """A user."""

    created_at: str
    email: str
    email_verified_at: str | None
    first_name: str
    last_login_at: str | None
    last_name: str
    user_id: str


class EntryShown(TypedDict):
    """A change."""

    action: str
    actor: ActorShown
    application_id: str | None
    audit_id: int
    changed_at: str
    changes: dict[str, Any]
    organization_id: str | None
    resource: str
    resource_id: str


class ActorShown(TypedDict):
    """The author of a change."""

    address: str | None
    id: str | None
    kind: str


class OrganizationShown(TypedDict):
    """An organization in a list."""

    name: str
    organization_id: str
    plan: None
    role: str


class OrganizationForm(TypedDict):
    """The body."""

    name: str


class OrganizationInfo(TypedDict):
    """An organization by itself."""

    consumption: dict[str, int]
    name: str
    onboarding_steps: dict[str, str]
    organization_id: str
    plan: None
    quotas: dict[str, int]
    role: str
    users: list[dict[str, Any]]


class QuotasShown(TypedDict):
    """Null: as the instance has it."""

    applications_per_organization: int | None
    event_types_per_application: int | None
    events_per_day: int | None
    members_per_organization: int | None


class QuotasForm(TypedDict):
    """The body. A field that is left out, or null, has the instance's value."""

    members_per_organization: NotRequired[int | None]
    applications_per_organization: NotRequired[int | None]
    events_per_day: NotRequired[int | None]
    event_types_per_application: NotRequired[int | None]


class InviteForm(TypedDict):
    """The body of an invitation."""

    email: str
    role: str


class InvitationShown(TypedDict):
    """An invited person with the role."""

    email: str
    role: str


class RevokeForm(TypedDict):
    """The body that removes a member."""

    user_id: str


class RevocationShown(TypedDict):
    """A person whose membership has ended."""

    user_id: str


class RoleForm(TypedDict):
    """The body that gives a member another role."""

    user_id: str
    role: str


class RoleShown(TypedDict):
    """The role of a member."""

    role: str
    user_id: str


class ApplicationShown(TypedDict):
    """An application in a list."""

    application_id: str
    name: str
    organization_id: str


class ApplicationForm(TypedDict):
    """The body."""

    organization_id: str
    name: str


class ApplicationInfo(TypedDict):
    """An application by itself."""

    application_id: str
    consumption: dict[str, int]
    name: str
    onboarding_steps: dict[str, str]
    organization_id: str
    quotas: dict[str, int]


class SecretShown(TypedDict):
    """An application secret. `token`: the secret itself."""

    created_at: str
    deleted_at: str | None
    name: str | None
    token: str


class SecretForm(TypedDict):
    """The body."""

    application_id: str
    name: NotRequired[str | None]


class TokenShown(TypedDict):
    """A service token. `biscuit`: the token itself."""

    application_ids: list[str] | None
    biscuit: str
    created_at: str
    expires_at: str | None
    name: str
    scopes: list[str] | None
    token_id: str


class TokenForm(TypedDict):
    """The body. `scopes`, `application_ids`, `expires_at`: additions of ours; null: not limited. Left out when a token
    is changed: as before."""

    organization_id: str
    name: str
    scopes: NotRequired[list[str] | None]
    application_ids: NotRequired[list[str] | None]
    expires_at: NotRequired[str | None]


class EventTypeShown(TypedDict):
    """An event type."""

    event_type_name: str
    resource_type_name: str
    service_name: str
    verb_name: str


class EventTypeForm(TypedDict):
    """The body."""

    application_id: str
    service: str
    resource_type: str
    verb: str


class ContractShown(TypedDict):
    """An event type. `schema_version`: 0 without a schema; another schema than before is a new version."""

    event_type_name: str
    example: str | None
    payload_schema: dict[str, Any] | bool | None
    resource_type_name: str
    schema_mode: Literal["off", "refuse", "warn"]
    schema_version: int
    service_name: str
    verb_name: str


class ContractForm(TypedDict):
    """The body. `schema_mode`: what becomes of payloads that do not fit. `example`: a payload, JSON as a text."""

    application_id: str
    payload_schema: NotRequired[dict[str, Any] | bool | None]
    schema_mode: NotRequired[Literal["off", "refuse", "warn"]]
    example: NotRequired[str | None]


class SchemaShown(TypedDict):
    """A schema that it has, or had."""

    created_at: str
    payload_schema: dict[str, Any] | bool
    schema_version: int


class FilterTestForm(TypedDict):
    """The body: a filter, and a payload (JSON as a text) or the id of an event."""

    application_id: str
    payload_filter: dict[str, Any]
    payload: NotRequired[str | None]
    event_id: NotRequired[str | None]


class FilterTestShown(TypedDict):
    """Is the payload accepted; and how many conditions of the 32 there may be the filter has."""

    accepts: bool
    conditions: int


class JsonWebKeySet(TypedDict):
    """RFC 7517 §5: the present key, and the one before it as long as it signs as well."""

    keys: list[JsonWebKey]


class JsonWebKey(TypedDict):
    """A public key as RFC 8037 has it. `kid`: its thumbprint (RFC 7638)."""

    alg: str
    crv: str
    kid: str
    kty: str
    use: str
    x: str


class RetryScheduleShown(TypedDict):
    """A retry schedule."""

    application_id: str
    created_at: str
    name: str
    retry_delays_s: list[float]
    retry_schedule_id: str
    updated_at: str


class RetryScheduleForm(TypedDict):
    """The body. `retry_delays_s`: seconds after the n-th failure; as many retries as there are delays."""

    application_id: str
    name: str
    retry_delays_s: list[float]


class SubscriptionShown(TypedDict):
    """A subscription with its secret in both forms."""

    application_id: str
    created_at: str
    dedicated_workers: list[str]
    delivery: dict[str, Any]
    description: str | None
    disabled_reason: str | None
    event_types: list[str]
    is_enabled: bool
    jwks_path: str
    label_key: str
    label_value: str
    labels: dict[str, str]
    metadata: dict[str, str]
    payload_filter: dict[str, Any] | None
    public_key: str
    retry_schedule_id: str | None
    secret: str
    standard_webhooks_secret: str | None
    subscription_id: str
    target: TargetShown
    updated_at: str


class TargetShown(TypedDict):
    """Where deliveries go."""

    headers: dict[str, str]
    method: str
    type: str
    url: str


class SubscriptionForm(TypedDict):
    """The body."""

    application_id: str
    is_enabled: bool
    event_types: list[str]
    target: TargetForm
    description: NotRequired[str | None]
    metadata: NotRequired[dict[str, str] | None]
    labels: NotRequired[dict[str, str] | None]
    label_key: NotRequired[str | None]
    label_value: NotRequired[str | None]
    dedicated_workers: NotRequired[list[str] | None]
    delivery: NotRequired[DeliveryForm | None]
    payload_filter: NotRequired[dict[str, Any] | None]
    retry_schedule_id: NotRequired[str | None]


class TargetForm(TypedDict):
    """Where deliveries go."""

    type: Literal["http"]
    method: str
    url: str
    headers: dict[str, str]


class DeliveryForm(TypedDict):
    """How to deliver, an addition of ours: members left out, or null, mean the default."""

    retry_delays_s: NotRequired[list[float] | None]
    rate_per_s: NotRequired[float | None]
    concurrency_max: NotRequired[int | None]
    total_timeout_s: NotRequired[float | None]
    connect_timeout_s: NotRequired[float | None]
    gives_up_on_client_errors: NotRequired[bool]
    tls_ca_pem: NotRequired[str | None]
    tls_client_cert_pem: NotRequired[str | None]
    tls_client_key_pem: NotRequired[str | None]
    event_format: NotRequired[Literal["cloudevents-binary", "cloudevents-structured", "plain"]]


class SubscriptionInfo(TypedDict):
    """A subscription by itself."""

    application_id: str
    created_at: str
    dedicated_workers: list[str]
    delivery: dict[str, Any]
    description: str | None
    disabled_reason: str | None
    event_types: list[str]
    health: HealthShown
    is_enabled: bool
    jwks_path: str
    label_key: str
    label_value: str
    labels: dict[str, str]
    metadata: dict[str, str]
    payload_filter: dict[str, Any] | None
    public_key: str
    retry_schedule_id: str | None
    secret: str
    standard_webhooks_secret: str | None
    subscription_id: str
    target: TargetShown
    updated_at: str


class HealthShown(TypedDict):
    """The health of an endpoint."""

    failing_since: str | None
    last_error: str | None
    parked_until: str | None


class RotationForm(TypedDict):
    """The body of a rotation. `secret`: the new one as a UUID or in its `whsec_` form; none: a new random one."""

    application_id: str
    overlap_s: NotRequired[int]
    secret: NotRequired[str | None]


class TestForm(TypedDict):
    """The body. `payload`: JSON as a text; left out: one of ours."""

    application_id: str
    payload: NotRequired[str | None]


class TestShown(TypedDict):
    """The event, and its delivery's first attempt."""

    delivery_id: str
    event_id: str
    request_attempt_id: str


class EventShown(TypedDict):
    """An event in a list."""

    event_id: str
    event_type_name: str
    ip: str
    labels: dict[str, str]
    metadata: dict[str, str]
    occurred_at: str
    payload_content_type: str
    received_at: str


class EventWithPayload(TypedDict):
    """An event by itself. `payload`: base64, whatever its type."""

    event_id: str
    event_type_name: str
    ip: str
    labels: dict[str, str]
    metadata: dict[str, str]
    occurred_at: str
    payload: str
    payload_content_type: str
    received_at: str


class DayShown(TypedDict):
    """How many events of an application came in on a day."""

    amount: int
    application_id: str
    application_name: str
    date: str
    is_provisional: bool


class StatsShown(TypedDict):
    """`points`: in the order of time, those that have attempts. Counts of points and of subscriptions can be added."""

    application_id: str
    begin: str
    end: str
    latency_bounds_ms: list[int]
    points: list[Point]
    step: Literal["day", "hour", "minute"]
    total: Figures


class Point(TypedDict):
    """The figures of a step that begins `at`."""

    at: str
    attempts: int
    cancelled: int
    errors: dict[str, int]
    failed: int
    latency_counts: list[int]
    latency_ms: LatencyOfAttempts
    statuses: dict[str, int]
    succeeded: int


class LatencyOfAttempts(TypedDict):
    """How long attempts took, in milliseconds, estimated from the buckets; null: none was made."""

    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


class Figures(TypedDict):
    """Attempts by outcome. `errors`: by name; `statuses`: of answers, as `2xx`.

    `latency_counts`: of those that were made, by bucket: up to each of `latency_bounds_ms`, and beyond."""

    attempts: int
    cancelled: int
    errors: dict[str, int]
    failed: int
    latency_counts: list[int]
    latency_ms: LatencyOfAttempts
    statuses: dict[str, int]
    succeeded: int


class ReplayForm(TypedDict):
    """The body. `subscription_id`: the only subscription to send the event to; None: all that select it."""

    application_id: str
    subscription_id: NotRequired[str | None]


class Found(TypedDict):
    """An object that has this id. `path`: where the API shows it."""

    id: str
    path: str
    type: Literal["dead_letter", "delivery", "event", "request_attempt", "subscription"]


class DeliveryShown(TypedDict):
    """A delivery. Its id is the receiver's `webhook-id`."""

    attempts: int
    created_at: str
    delivery_id: str
    event_id: str
    event_type_name: str
    last_attempt_id: str | None
    last_error: ErrorShown | None
    state: StateShown
    subscription: SubscriptionOfDelivery


class ErrorShown(TypedDict):
    """Why the last attempt failed."""

    detail: str | None
    http_response_status: int | None
    name: str


class StateShown(TypedDict):
    """A delivery's state. `reason`: why it is parked or dead; `until`: when it is attempted, as far as known."""

    reason: str | None
    since: str
    type: Literal["cancelled", "dead", "delivered", "parked", "waiting"]
    until: str | None


class SubscriptionOfDelivery(TypedDict):
    """The subscription of a delivery."""

    description: str | None
    subscription_id: str


class SubscriptionHealth(TypedDict):
    """Figures of the newest 1,000 deliveries. `success_ratio`: of attempts, 0 to 1; null: none was made."""

    attempts: int
    deliveries: int
    deliveries_max: int
    disabled_reason: str | None
    failing_since: str | None
    is_enabled: bool
    last_error: str | None
    latency_ms: LatencyShown
    next_attempt_at: str | None
    parked_until: str | None
    subscription_id: str
    success_ratio: float | None
    waiting: int


class LatencyShown(TypedDict):
    """How long attempts took, in milliseconds; null: none was made."""

    p50: float | None
    p95: float | None
    p99: float | None


class AttemptShown(TypedDict):
    """An attempt in a list."""

    asked_at: str | None
    created_at: str
    delay_until: str | None
    delivery_id: str
    event: EventOfAttempt
    event_id: str
    failed_at: str | None
    http_response_status: int | None
    picked_at: str | None
    request_attempt_id: str
    response_id: str | None
    retry_count: int
    status: StatusShown
    subscription: SubscriptionOfAttempt
    succeeded_at: str | None


class EventOfAttempt(TypedDict):
    """The event of an attempt."""

    event_id: str
    event_type_name: str


class StatusShown(TypedDict):
    """Outcome of an attempt, or its present state. `in_progress`: the request is open for more than a second."""

    at: NotRequired[str]
    full_processing_ms: NotRequired[int]
    since: NotRequired[str]
    type: Literal["failed", "in_progress", "pending", "successful", "waiting"]
    until: NotRequired[str]


class SubscriptionOfAttempt(TypedDict):
    """The subscription of an attempt."""

    description: str | None
    subscription_id: str


class AttemptInfo(TypedDict):
    """An attempt by itself."""

    asked_at: str | None
    created_at: str
    delay_until: str | None
    delivery_id: str
    error: AttemptError | None
    event: EventOfAttempt
    event_id: str
    failed_at: str | None
    http_response_status: int | None
    next_attempt_at: str | None
    picked_at: str | None
    request: RequestShown | None
    request_attempt_id: str
    response_id: str | None
    retry_count: int
    status: StatusShown
    subscription: SubscriptionOfAttempt
    succeeded_at: str | None
    timings_ms: dict[str, float] | None


AttemptError = TypedDict("AttemptError", {"class": str, "detail": str | None})


class RequestShown(TypedDict):
    """The request that was sent; values that look like secrets are redacted."""

    headers: dict[str, str]
    method: str
    url: str


class RetryForm(TypedDict):
    """The body."""

    application_id: str


class RetryShown(TypedDict):
    """The attempt that was asked for. It is listed from now on."""

    delivery_id: str
    event_id: str
    request_attempt_id: str
    subscription_id: str


class ResponseShown(TypedDict):
    """The answer of an endpoint."""

    body: str
    elapsed_time_ms: int
    headers: dict[str, str]
    http_code: int | None
    response_error_name: str | None
    response_id: str


class LetterShown(TypedDict):
    """A dead letter."""

    application_id: str | None
    dead_id: str
    delivery_id: str | None
    detail: str
    died_at: str
    event_id: str | None
    reason: str
    redriven_at: str | None
    source: SourceShown
    subscription_id: str | None


class SourceShown(TypedDict):
    """The record that died."""

    offset: int
    partition: int
    topic: str


class RedriveForm(TypedDict):
    """Which letters of the application; all that is given must hold. `dry_run`: only count them."""

    application_id: str
    dead_ids: NotRequired[list[str] | None]
    subscription_id: NotRequired[str | None]
    reason: NotRequired[str | None]
    min_died_at: NotRequired[str | None]
    max_died_at: NotRequired[str | None]
    dry_run: NotRequired[bool]


class RedriveShown(TypedDict):
    """The letters sent again. `matching`: letters by reason; `skipped`: dead id to why."""

    matching: dict[str, int]
    redriven: int
    skipped: dict[str, str]
