"""The part of a caller's trace context that is carried on."""

import pytest

from pipeline.core.trace_context import TRACESTATE_MAX_CHARS, make_headers, pick_headers, show_parent

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_context_of_http_becomes_the_headers_of_a_record() -> None:
    """Both fields, in the form that Kafka's clients take."""
    headers = make_headers(PARENT, "vendor=1")

    assert (("traceparent", PARENT.encode()), ("tracestate", b"vendor=1")) == headers
    assert PARENT == show_parent(headers or ())
    assert headers == pick_headers(headers)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        PARENT.upper(),
        PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        PARENT.replace("00f067aa0ba902b7", "0" * 16),
        "ff" + PARENT[2:],
        PARENT + "\r\nX-Other: 1",
        PARENT + "-" + "a" * 65,
    ],
    ids=["empty", "id-only", "upper-case", "no-trace", "no-span", "version-ff", "line-break", "long"],
)
def test_what_is_no_context_is_not_carried_on(value: str) -> None:
    """Any caller may send the header: a wrong one is no error, and begins a new trace."""
    assert None is make_headers(value, None)
    assert None is pick_headers([("traceparent", value.encode())])


def test_a_later_version_is_carried_on() -> None:
    """The first fields are those of version 00."""
    later = "01" + PARENT[2:] + "-more"

    assert (("traceparent", later.encode()),) == make_headers(later, None)


@pytest.mark.parametrize("state", ["", "a" * (TRACESTATE_MAX_CHARS + 1), "a=\n"], ids=["empty", "long", "line-break"])
def test_a_state_that_is_too_long_or_no_text_is_left_out(state: str) -> None:
    """The context itself stays."""
    assert (("traceparent", PARENT.encode()),) == make_headers(PARENT, state)


def test_records_without_a_context() -> None:
    """Other headers are not looked at."""
    assert None is pick_headers(None)
    assert None is pick_headers([])
    assert None is pick_headers([("other", b"1"), ("traceparent", None)])
