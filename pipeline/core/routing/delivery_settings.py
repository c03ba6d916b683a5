"""How an owner wants deliveries to be made, where it differs from the default; with the bounds of what may be asked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from pipeline.core.lanes.gate import CONCURRENCY_MAX

EventFormat = Literal["plain", "cloudevents-structured", "cloudevents-binary"]
HOUR_S = 3600.0
DELAYS_MAX = 50
DELAY_MAX_S = 7 * 24 * HOUR_S
RATE_MIN_PER_S, RATE_MAX_PER_S = 0.01, 10_000.0
TIMEOUT_MIN_S, TIMEOUT_MAX_S = 1.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """Settings of a subscription's deliveries. None: the default.

    `retry_delays_s`: seconds after the n-th failure; as many retries as there are delays, none for an empty one.
    `gives_up_on_client_errors`: an answer of 4xx other than 408, 425 and 429 ends a delivery.
    `tls_ca_pem`: authorities for the endpoint's certificate, instead of the system's; `tls_client_cert_pem`: our own
    certificate, whose key is sealed and kept elsewhere.
    `event_format`: the payload alone, or a CloudEvent (`pipeline.core.events.cloud_events_out`).
    """

    retry_delays_s: tuple[float, ...] | None = None
    rate_per_s: float | None = None
    concurrency_max: int | None = None
    total_timeout_s: float | None = None
    connect_timeout_s: float | None = None
    gives_up_on_client_errors: bool = False
    tls_ca_pem: str | None = None
    tls_client_cert_pem: str | None = None
    event_format: EventFormat = "plain"


KNOWN_NAMES = tuple(field.name for field in fields(DeliverySettings))


def read_settings(text: str) -> DeliverySettings:
    """Settings as they are stored, JSON. Members that a newer release wrote are passed over."""
    members = json.loads(text)
    known = {name: members[name] for name in KNOWN_NAMES if name in members}
    if known.get("retry_delays_s") is not None:
        known["retry_delays_s"] = tuple(known["retry_delays_s"])
    return DeliverySettings(**known)


def find_delays_problem(delays_s: Sequence[float]) -> str | None:
    """The problem with delays between attempts, as a sentence; None when all is well."""
    if len(delays_s) > DELAYS_MAX:
        return f"there may be {DELAYS_MAX} delays"
    if not all(0 <= delay_s <= DELAY_MAX_S for delay_s in delays_s):
        return f"each delay must be 0 to {DELAY_MAX_S:g} seconds"
    return None


def find_setting_problems(settings: DeliverySettings) -> dict[str, str]:
    """Field → what is wrong with it, as a sentence; empty when all is well."""
    problems: dict[str, str] = {}
    delays_problem = find_delays_problem(settings.retry_delays_s or ())
    if delays_problem is not None:
        problems["retry_delays_s"] = delays_problem
    bounds = (
        ("rate_per_s", settings.rate_per_s, RATE_MIN_PER_S, RATE_MAX_PER_S),
        ("concurrency_max", settings.concurrency_max, 1, CONCURRENCY_MAX),
        ("total_timeout_s", settings.total_timeout_s, TIMEOUT_MIN_S, TIMEOUT_MAX_S),
        ("connect_timeout_s", settings.connect_timeout_s, TIMEOUT_MIN_S, TIMEOUT_MAX_S),
    )
    for name, value, least, most in bounds:
        if value is not None and not least <= value <= most:
            problems[name] = f"it must be {least:g} to {most:g}"
    return problems
