"""Replacements for a record that its topic does not take: nothing is lost in silence."""

from uuid import uuid4

import pytest

from pipeline.core.events.bundle import take_apart
from pipeline.core.events.dead_letters import DETAIL_MAX_CHARS
from pipeline.core.events.records import (
    Attempt,
    DeadLetter,
    Delivery,
    Dispatch,
    EndpointState,
    Probe,
    Record,
    from_bytes,
    to_bytes,
)
from pipeline.kafka.failures import RecordRefusedError, ToSend
from pipeline.kafka.smaller import Smaller
from pipeline.topics import Topic, declare_topics
from tests.integration.archive.records import make_attempt, make_dead_letter, make_dispatch, make_event
from tests.support.outbound import make_bundle

TOPICS = declare_topics(prefix="t.", partitions=1, event_retention_s=3600)
ERROR = RecordRefusedError("MSG_SIZE_TOO_LARGE: too large", topic="t")
NOW_US = 1_800_000_000_000_000
KEY = b"k"


def replace(topic: Topic, value: bytes) -> list[ToSend] | None:
    return Smaller(TOPICS, lambda: NOW_US, on_dead=lambda _: None)((topic, KEY, value), ERROR)


def replace_record(topic: Topic, record: Record) -> list[tuple[Topic, Record]] | None:
    instead = replace(topic, to_bytes(record))
    return None if instead is None else [(into, from_bytes(value or b"")) for into, _, value, *_ in instead]


def replace_by_one(topic: Topic, record: Record) -> tuple[Topic, Record]:
    (instead,) = replace_record(topic, record) or [(topic, record), (topic, record)]
    return instead


def make_delivery() -> Delivery:
    return Delivery(
        delivery_id=str(uuid4()),
        subscription_id=str(uuid4()),
        application_id=str(uuid4()),
        event_id=str(uuid4()),
        event_type="a.b.c",
        payload=b"x" * 1000,
        payload_content_type="text/plain",
        appended_at_us=1,
        received_at_us=2,
        matched_at_us=3,
        attempt_number=4,
    )


def test_a_bundle_becomes_its_deliveries() -> None:
    """Each with its own key, in the topic that the bundle was for."""
    bundle, retries = make_bundle(["s-1", "s-2"]), TOPICS.retries[2]

    assert [(retries, each) for each in take_apart(bundle)] == replace_record(retries, bundle)
    assert [b"s-1", b"s-2"] == [key for _, key, *_ in replace(retries, to_bytes(bundle)) or []]


def test_an_attempt_keeps_what_it_came_to() -> None:
    """The attempt goes without request and response; a second refusal is not about its size any more."""
    event = make_event(str(uuid4()))
    attempt = make_attempt(make_dispatch(event, str(uuid4())), 0)
    into, shorter = replace_by_one(TOPICS.attempts, attempt)

    assert TOPICS.attempts == into
    assert isinstance(shorter, Attempt)
    assert (attempt.attempt_id, attempt.outcome, attempt.response_status) == (
        shorter.attempt_id,
        shorter.outcome,
        shorter.response_status,
    )
    assert ({}, {}, b"") == (shorter.request_headers, shorter.response_headers, shorter.response_body)
    assert replace(TOPICS.attempts, to_bytes(shorter)) is None


def test_a_delivery_becomes_a_dead_letter_that_can_be_sent_again() -> None:
    """The dead letter has the reason, and the delivery whole; its id is the same however often it is refused."""
    delivery = make_delivery()
    into, letter = replace_by_one(TOPICS.retries[0], delivery)
    _, again = replace_by_one(TOPICS.retries[0], delivery)

    assert TOPICS.dead == into
    assert isinstance(letter, DeadLetter)
    assert "refused_by_log" == letter.reason
    assert TOPICS.retries[0].name in letter.detail
    assert "MSG_SIZE_TOO_LARGE" in letter.detail
    assert to_bytes(delivery) == letter.source_value
    assert (delivery.delivery_id, delivery.subscription_id) == (letter.delivery_id, letter.subscription_id)
    assert isinstance(again, DeadLetter)
    assert letter.dead_id == again.dead_id


@pytest.mark.parametrize("matches", [2, 5, 64])
def test_a_dispatch_is_halved(matches: int) -> None:
    """Halving goes on until the rest is taken: every match is in exactly one part."""
    event = make_event(str(uuid4()))
    dispatch = make_dispatch(event, *(str(uuid4()) for _ in range(matches)))
    parts = [part for _, part in replace_record(TOPICS.dispatches, dispatch) or ()]
    while any(isinstance(part, Dispatch) and len(part.matches) > 1 for part in parts):
        parts = [
            smaller
            for part in parts
            if isinstance(part, Dispatch)
            for _, smaller in (replace_record(TOPICS.dispatches, part) or [(TOPICS.dispatches, part)])
        ]

    assert dispatch.matches == [match for part in parts if isinstance(part, Dispatch) for match in part.matches]
    assert {event.event_id} == {part.event_id for part in parts if isinstance(part, Dispatch)}


def test_one_match_is_as_small_as_it_gets() -> None:
    """Where that is refused, the topic is wrong."""
    assert replace_record(TOPICS.dispatches, make_dispatch(make_event(str(uuid4())), str(uuid4()))) is None


def test_a_dead_letter_loses_its_value_and_says_so() -> None:
    """A letter without its value has nothing left to leave out."""
    letter = make_dead_letter(make_event(str(uuid4())))
    into, shorter = replace_by_one(TOPICS.dead, letter)

    assert TOPICS.dead == into
    assert isinstance(shorter, DeadLetter)
    assert (letter.dead_id, None) == (shorter.dead_id, shorter.source_value)
    assert "not kept" in shorter.detail
    assert replace_record(TOPICS.dead, shorter) is None


def test_a_state_is_told_again_anyway() -> None:
    """Nothing is written in its place."""
    state = EndpointState(subscription_id="s", application_id="a", endpoint_version=1, changed_at_us=1)

    assert [] == replace_record(TOPICS.endpoint_states, state)


def test_a_probe_has_no_smaller_form() -> None:
    """A topic that refuses a probe refuses everything."""
    assert replace_record(TOPICS.attempts, Probe(process="test", written_at_us=1)) is None


def test_what_cannot_be_read_becomes_a_dead_letter() -> None:
    """Any bytes become a dead letter; its detail has a bound."""
    error = RecordRefusedError("x" * 10_000)
    counted: list[str] = []
    smaller = Smaller(TOPICS, lambda: NOW_US, on_dead=counted.append)
    ((into, key, value, *_),) = smaller((TOPICS.deliveries, KEY, b"junk"), error) or []
    letter = from_bytes(value or b"")

    assert (TOPICS.dead, KEY) == (into, key)
    assert isinstance(letter, DeadLetter)
    assert (b"junk", NOW_US) == (letter.source_value, letter.died_at_us)
    assert DETAIL_MAX_CHARS >= len(letter.detail)
