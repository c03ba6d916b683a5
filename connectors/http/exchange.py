"""A request to an endpoint and what it came to. Values only; who sends them is in `client`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from connectors.http.origin import Origin


class ErrorClass(StrEnum):
    """Why an attempt failed, as Hook0's clients know it."""

    UNKNOWN = "E_UNKNOWN"
    INVALID_HEADER = "E_INVALID_HEADER"
    INVALID_TARGET = "E_INVALID_TARGET"
    DNS = "E_DNS"
    CONNECTION = "E_CONNECTION"
    TIMEOUT = "E_TIMEOUT"
    HTTP = "E_HTTP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request. `head`: everything up to and including the empty line, ready to be sent."""

    origin: Origin
    is_head: bool
    head: bytes
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The endpoint answered. `body` is cut at the configured length; `timings_us` as in `Failure`."""

    status: int
    headers: dict[str, str]
    body: bytes
    timings_us: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """There is no whole answer. `timings_us`: dns, connect, tls, first_byte, total; those that were reached."""

    error_class: ErrorClass
    detail: str
    timings_us: Mapping[str, int] = field(default_factory=dict)


Result = Answer | Failure
