import json
from typing import Any
from uuid import UUID

import pytest

from bench.instruments.plan import Audience, Pace, StreamPlan
from bench.instruments.request import RequestWriter
from bench.instruments.stamp import Stamp, read_stamp

INTENDED_US = 1_764_092_406_123_456
PAYLOADS = ['{"text":"Zürich \\"quoted\\""}', "{}", '{"n":[1,2]}']
AUDIENCES = [
    Audience(
        application_id=f"0190f1a2-0000-7000-8000-00000000000{number}",
        secret=f"secret-{number}",
        event_type="bench.event.sent",
        labels={"bench": f"all-{number}"},
    )
    for number in range(2)
]


def make_writer(*, batch: int = 1, has_event_ids: bool = True) -> RequestWriter:
    plan = StreamPlan(number=3, pace=Pace(), audiences=AUDIENCES, connections=1, batch=batch)
    return RequestWriter(
        plan, api="http://127.0.0.1:8080/api/v1", payloads=PAYLOADS, has_event_ids=has_event_ids, run_id=7
    )


def split(request: bytes) -> tuple[str, dict[str, str], Any]:
    """The request line, headers, and the body as JSON; its length must be as announced."""
    head, body = request.split(b"\r\n\r\n", 1)
    line, *rest = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in rest)
    assert len(body) == int(headers["Content-Length"])
    return line, headers, json.loads(body)


@pytest.mark.parametrize("has_event_ids", [True, False])
@pytest.mark.parametrize("number", range(6))
def test_a_request_is_what_a_client_would_send(number: int, has_event_ids: bool) -> None:
    """Audiences and payloads in turn; the payload is a string with the mark in it."""
    line, headers, event = split(make_writer(has_event_ids=has_event_ids).write(number, INTENDED_US))
    audience, payload = AUDIENCES[number % 2], json.loads(PAYLOADS[number % 3])

    assert "POST /api/v1/event HTTP/1.1" == line
    assert f"Bearer {audience.secret}" == headers["Authorization"]
    assert audience.application_id == event["application_id"]
    assert (audience.event_type, audience.labels) == (event["event_type"], event["labels"])
    assert Stamp(INTENDED_US, 3, number) == read_stamp(event["payload"].encode())
    assert payload == {name: value for name, value in json.loads(event["payload"]).items() if name != "bench"}
    assert has_event_ids == ("event_id" in event)


def test_event_ids_are_uuids_and_differ() -> None:
    """Version 7, as Hook0's clients make them, with the time in front."""
    writer = make_writer()
    ids = [UUID(split(writer.write(number, INTENDED_US))[2]["event_id"]) for number in range(100)]

    assert 100 == len(set(ids))
    assert {7} == {each.version for each in ids}
    assert {INTENDED_US // 1000} == {each.int >> 80 for each in ids}


def test_a_batch_is_of_one_application() -> None:
    """A batch's events are numbered on from the first one, and all bear its time."""
    writer = make_writer(batch=4)
    line, headers, body = split(writer.write(4, INTENDED_US))

    assert "POST /api/v1/events HTTP/1.1" == line
    assert 1 == writer.find_audience(4)
    assert (f"Bearer {AUDIENCES[1].secret}", AUDIENCES[1].application_id) == (
        headers["Authorization"],
        body["application_id"],
    )
    assert [Stamp(INTENDED_US, 3, number) for number in (4, 5, 6, 7)] == [
        read_stamp(event["payload"].encode()) for event in body["events"]
    ]
    assert 4 == len({event["event_id"] for event in body["events"]})
