from typing import Any

from pipeline.gateway.reads.responses import show_answer
from pipeline.postgres.archive.attempts import ArchivedResponse


def make_response(**fields: Any) -> ArchivedResponse:
    return ArchivedResponse(
        request_method="POST",
        request_url="https://example.com/",
        request_headers={},
        timings_us={},
        next_due_at_us=None,
        **{
            "attempt_id": "a",
            "error_class": None,
            "error_detail": None,
            "status": 200,
            "headers": {"server": "x"},
            "body": b"thanks",
            "elapsed_us": 20_999,
        }
        | fields,
    )


def test_an_answer_shows_code_headers_and_body() -> None:
    """The endpoint's answer is shown as text."""
    assert show_answer(make_response()) == {
        "response_id": "a",
        "response_error_name": None,
        "http_code": 200,
        "headers": {"server": "x"},
        "body": "thanks",
        "elapsed_time_ms": 20,
    }


def test_a_body_that_is_no_text_is_base64() -> None:
    """Any bytes can be shown."""
    assert show_answer(make_response(body=b"\xff\x00"))["body"] == "/wA="


def test_an_error_without_an_answer_is_the_body() -> None:
    """The owner of the endpoint reads what went wrong where the answer would be."""
    response = make_response(
        status=None, headers={}, body=b"", error_class="E_TIMEOUT", error_detail="no answer within 15 s"
    )
    shown = show_answer(response)

    assert (shown["response_error_name"], shown["http_code"], shown["body"]) == (
        "E_TIMEOUT",
        None,
        "no answer within 15 s",
    )
