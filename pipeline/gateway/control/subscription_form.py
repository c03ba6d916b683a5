"""The body of `POST` and `PUT /subscriptions`, and its rules."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal
from uuid import UUID

import msgspec

from pipeline.core.events.headers import find_header_problem, find_repeated_name
from pipeline.core.events.names import EVENT_TYPE_MAX_BYTES, LABELS_MAX, METADATA_MAX
from pipeline.core.network.destination import METHODS, DestinationError, parse_destination
from pipeline.core.routing.delivery_settings import DeliverySettings, EventFormat, find_setting_problems
from pipeline.core.routing.payload_filter import CONDITIONS_MAX, FilterError, PayloadFilter, parse_filter
from pipeline.gateway.bodies import Form
from pipeline.gateway.control.tls import find_tls_problems
from pipeline.gateway.problems import Problem
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.subscriptions import SubscriptionContent

EVENT_TYPES_MAX = 100
DESCRIPTION_MAX_CHARS = 100
LEGACY_LABEL_MAX_CHARS = 100
URL_MAX_CHARS = 1000
HEADERS_MAX = 10
HEADER_MAX_CHARS = 500


class TargetForm(msgspec.Struct, frozen=True):
    """Where deliveries go."""

    type: Literal["http"]
    method: str
    url: str
    headers: dict[str, str]


class DeliveryForm(msgspec.Struct, frozen=True):
    """How to deliver, an addition of ours: members left out, or null, mean the default."""

    retry_delays_s: tuple[float, ...] | None = None
    rate_per_s: float | None = None
    concurrency_max: int | None = None
    total_timeout_s: float | None = None
    connect_timeout_s: float | None = None
    gives_up_on_client_errors: bool = False
    tls_ca_pem: str | None = None
    tls_client_cert_pem: str | None = None
    tls_client_key_pem: str | None = None  # never shown again; left out with a certificate: the one that is there stays
    event_format: EventFormat = "plain"


class SubscriptionForm(Form, frozen=True):
    """The body."""

    application_id: UUID
    is_enabled: bool
    event_types: list[str]
    target: TargetForm
    description: str | None = None
    metadata: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    label_key: str | None = None
    label_value: str | None = None
    dedicated_workers: list[str] | None = None
    delivery: DeliveryForm | None = None
    payload_filter: dict[str, Any] | None = None
    retry_schedule_id: UUID | None = None

    @property
    def has_legacy_label(self) -> bool:
        """The labels are `label_key` and `label_value`, and nothing else, as answers show such a subscription."""
        return self.labels is None or self.labels == {self.label_key: self.label_value}

    def read_labels(self) -> dict[str, str]:
        """The labels, in whichever form they came. Raises `Problem` when there are none."""
        if self.labels is not None:
            return self.labels
        if self.label_key is None or self.label_value is None:
            raise Problem("LabelsAmbiguity")
        return {self.label_key: self.label_value}


def check_subscription(
    form: SubscriptionForm, labels: Mapping[str, str], *, signature_header: str
) -> SubscriptionContent:
    """The content of a form. Raises `Problem` with all that is wrong; whether event types exist is not looked at."""
    findings = Findings()
    _check_event_types(findings, form.event_types)
    if form.description is not None:
        findings.check_text("description", form.description, most=DESCRIPTION_MAX_CHARS)
    metadata = form.metadata or {}
    findings.check_pairs("metadata", metadata, least=0, most=METADATA_MAX)
    if form.has_legacy_label:
        # no event has a label of more than 50 bytes: with a longer one the subscription selects nothing, as at Hook0
        findings.check_length("label_key", form.label_key or "", most=LEGACY_LABEL_MAX_CHARS)
        findings.check_length("label_value", form.label_value or "", most=LEGACY_LABEL_MAX_CHARS)
    else:
        findings.check_pairs("labels", labels, least=1, most=LABELS_MAX)
    payload_filter = _check_filter(findings, form.payload_filter)
    url = _check_target(findings, form.target, signature_header)
    settings = msgspec.structs.asdict(form.delivery or DeliveryForm())
    key_pem = settings.pop("tls_client_key_pem")
    delivery = DeliverySettings(**settings)
    problems = find_setting_problems(delivery) | find_tls_problems(
        delivery.tls_ca_pem, delivery.tls_client_cert_pem, key_pem
    )
    for field, message in problems.items():
        findings.add(f"delivery.{field}", "delivery-setting", message)
    if form.retry_schedule_id is not None and delivery.retry_delays_s is not None:
        message = "there is either a retry schedule or `delivery.retry_delays_s`"
        findings.add("retry_schedule_id", "retry-schedule", message)
    findings.raise_if_any()
    if form.dedicated_workers:
        raise Problem("UnauthorizedWorkers", detail="This instance has no dedicated workers.")
    return SubscriptionContent(
        is_enabled=form.is_enabled,
        event_types=tuple(dict.fromkeys(form.event_types)),
        description=form.description,
        metadata=metadata,
        labels=dict(labels),
        method=form.target.method,
        url=url,
        headers=form.target.headers,
        payload_filter=payload_filter,
        delivery=delivery,
        retry_schedule_id=str(form.retry_schedule_id) if form.retry_schedule_id is not None else None,
    )


def require_client_key(form: SubscriptionForm) -> None:
    """A new subscription with a certificate needs its key as well. Raises `Problem`."""
    delivery = form.delivery
    if delivery is not None and delivery.tls_client_cert_pem is not None and delivery.tls_client_key_pem is None:
        findings = Findings()
        findings.add("delivery.tls_client_key_pem", "delivery-setting", "a certificate needs its key")
        findings.raise_if_any()


def _check_event_types(findings: Findings, names: list[str]) -> None:
    if not 1 <= len(names) <= EVENT_TYPES_MAX:
        message = f"there must be 1 to {EVENT_TYPES_MAX} event types"
        findings.add("event_types", "event-types-size", message, min=1, max=EVENT_TYPES_MAX)
    if any(not 1 <= len(name.encode()) <= EVENT_TYPE_MAX_BYTES for name in names):
        message = f"names must have 1 to {EVENT_TYPE_MAX_BYTES} bytes"
        findings.add("event_types", "event-types-name-length", message, min=1, max=EVENT_TYPE_MAX_BYTES)


def check_filter(findings: Findings, form: dict[str, Any]) -> PayloadFilter | None:
    """The filter of a form; None and a finding when it is none."""
    try:
        return parse_filter(form)
    except FilterError as error:
        findings.add("payload_filter", "payload-filter", f"it {error}", conditions_max=CONDITIONS_MAX)
        return None


def _check_filter(findings: Findings, form: dict[str, Any] | None) -> str | None:
    if form is None or check_filter(findings, form) is None:
        return None
    return msgspec.json.encode(form).decode()


def _check_target(findings: Findings, target: TargetForm, signature_header: str) -> str:
    """The URL as it was given; deliver parses it when it sends."""
    if target.method not in METHODS:
        message = f"the method must be one of {', '.join(sorted(METHODS))}"
        findings.add("target.method", "subscription-target-http-method", message)
    if len(target.headers) > HEADERS_MAX:
        message = f"there may be {HEADERS_MAX} headers"
        findings.add("target.headers", "subscription-target-http-headers-size", message, max=HEADERS_MAX)
    if any(not name or max(len(name), len(value)) > HEADER_MAX_CHARS for name, value in target.headers.items()):
        message = f"names and values of headers may have {HEADER_MAX_CHARS} characters"
        findings.add(
            "target.headers", "subscription-target-http-headers-property-length", message, max=HEADER_MAX_CHARS
        )
    if len(target.url) > URL_MAX_CHARS:
        message = f"the URL may have {URL_MAX_CHARS} characters"
        findings.add("target.url", "subscription-target-http-url-length", message, max=URL_MAX_CHARS)
        return target.url
    problems = [
        find_header_problem(name, value, signature_header=signature_header)
        for name, value in islice(target.headers.items(), HEADERS_MAX)
    ]
    for problem in (*problems, find_repeated_name(target.headers)):
        if problem is not None:
            findings.add("target.headers", "subscription-target-http-headers", problem)
    try:
        parse_destination(target.url)
    except DestinationError as error:
        findings.add("target.url", "subscription-target-http-url", str(error))
    return target.url
