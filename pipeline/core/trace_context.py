"""The W3C trace context of an event on its way: read from headers of HTTP and Kafka, written into those of Kafka. Pure.

Only what is well-formed and short is carried on: these headers come from outside. Spans are made in `pipeline/tracing`.
"""

import re
from collections.abc import Mapping, Sequence

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
TRACESTATE_MAX_CHARS = 512
# a later version may have more fields behind these
_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]{1,64})?")
_STATE = re.compile(r"[ -~]+")

# As Kafka's clients hand them over.
RecordHeaders = Mapping[str, str | bytes | None] | Sequence[tuple[str, str | bytes | None]] | None
# What is carried on. A tuple, since a record is a key of mappings.
TraceHeaders = tuple[tuple[str, bytes], ...]


def make_headers(traceparent: str | None, tracestate: str | None) -> TraceHeaders | None:
    """Make headers of two values from outside; None: they hold no context."""
    if traceparent is None or _PARENT.fullmatch(traceparent) is None:
        return None
    headers: TraceHeaders = ((TRACEPARENT, traceparent.encode()),)
    if tracestate and len(tracestate) <= TRACESTATE_MAX_CHARS and _STATE.fullmatch(tracestate) is not None:
        headers = (*headers, (TRACESTATE, tracestate.encode()))
    return headers


def pick_headers(headers: RecordHeaders) -> TraceHeaders | None:
    """Take the context from a record's headers; None: they hold none. The last header of a name counts."""
    if not headers:
        return None
    named = dict(headers)
    return make_headers(_show(named.get(TRACEPARENT)), _show(named.get(TRACESTATE)))


def show_parent(headers: TraceHeaders) -> str:
    """The value of `traceparent`."""
    return headers[0][1].decode()


def show_headers(headers: TraceHeaders | None) -> tuple[str | None, str | None]:
    """The values of `traceparent` and `tracestate`, each None where it is absent: the arguments of `make_headers`."""
    named = dict(headers or ())
    return _show(named.get(TRACEPARENT)), _show(named.get(TRACESTATE))


def _show(value: bytes | str | None) -> str | None:
    return value.decode("latin-1") if isinstance(value, bytes) else value
