"""A request to an endpoint and what it came to. Values only; who sends them is in `client`.

Structs of msgspec, which are made and copied in a fifth of the time that frozen dataclasses take: three a request.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from connectors.http.client.origin import Origin


class ErrorClass(StrEnum):
    """Why an attempt failed, as Hook0's clients know it; the last two are ours.

    INTERNAL: an exception inside Hookline. LOCAL: this process lacked something (files, memory …); never archived,
    since the delivery waits without an attempt.
    """

    INVALID_HEADER = "E_INVALID_HEADER"
    INVALID_TARGET = "E_INVALID_TARGET"
    DNS = "E_DNS"
    CONNECTION = "E_CONNECTION"
    TIMEOUT = "E_TIMEOUT"
    HTTP = "E_HTTP"
    INTERNAL = "E_INTERNAL"
    LOCAL = "E_LOCAL"


class Certificate(NamedTuple):
    """Times at which a certificate's validity begins and ends; microseconds since the epoch."""

    begins_at_us: int
    expires_at_us: int


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request. `head`: everything up to and including the empty line, ready to be sent.

    `owner`: the application that it is for. Look-ups of names are shared out by owner.
    `connect_timeout_s` and `total_timeout_s`: this endpoint's own; None: the deployment's.
    """

    origin: Origin
    is_head: bool
    head: bytes
    body: bytes | memoryview
    owner: str = ""
    connect_timeout_s: float | None = None
    total_timeout_s: float | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoint answered: its status and headers came in whole.

    `body`: the part that was read, cut at the configured length. `body_problem`: why it did not end as it should, as a
    sentence (reset, time-out, bad chunking); None: it did, or was cut. `headers`: those that hold secrets are redacted.
    `timings_us` and `certificate` as in `Failure`.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    body_problem: str | None = None
    timings_us: Mapping[str, int] = {}
    certificate: Certificate | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange without an answer. `timings_us`: dns, connect, tls, first_byte, total; those that were reached.

    `certificate`: the endpoint's, when a TLS connection was made for this request.
    """

    error_class: ErrorClass
    detail: str
    timings_us: Mapping[str, int] = {}
    certificate: Certificate | None = None


Result = Answer | Failure
