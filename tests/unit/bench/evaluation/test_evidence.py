from array import array
from pathlib import Path

import msgspec
import pytest

from bench.evaluation.evidence import Arrival, Reckoning, Sent, read_received, read_sent, reckon
from bench.instruments.journal import RECEIVED, SENT, open_columns, write_columns


def make_sent(*rows: tuple[int, int], batch: int = 1, refused: frozenset[int] = frozenset()) -> Sent:
    """Requests by (accepted events, status)."""
    columns = open_columns(SENT)
    for accepted, status in rows:
        for name, value in (("intended_us", 0), ("sent_us", 0), ("answered_us", 1)):
            columns[name].append(value)
        columns["accepted"].append(accepted)
        columns["status"].append(status)
    return Sent(batch=batch, columns=columns, refused=refused)


def arrive(number: int, endpoint: int) -> Arrival:
    return Arrival(number=number, endpoint=endpoint, intended_us=0, arrived_us=1)


ACCEPTED = (1, 201)


def test_all_that_was_accepted_has_arrived() -> None:
    """Events go to two audiences in turn, whose endpoints start at 10."""
    arrivals = [arrive(0, 10), arrive(1, 11), arrive(2, 10)]

    assert Reckoning(expected=3, arrived=3, repeated=0, lost=0, unasked=0) == reckon(
        make_sent(ACCEPTED, ACCEPTED, ACCEPTED), arrivals, first=10, audiences=2, fan_out=1
    )


def test_what_was_accepted_and_did_not_arrive_is_lost() -> None:
    """A repeat of another one does not make up for it."""
    arrivals = [arrive(0, 0), arrive(0, 0)]

    assert Reckoning(expected=2, arrived=1, repeated=1, lost=1, unasked=0) == reckon(
        make_sent(ACCEPTED, ACCEPTED), arrivals, first=0, audiences=1, fan_out=1
    )


def test_an_event_is_to_arrive_at_each_of_its_endpoints() -> None:
    """Twice at one of them is not once at both."""
    arrivals = [arrive(0, 0), arrive(0, 0), arrive(1, 2), arrive(1, 3)]

    assert Reckoning(expected=4, arrived=3, repeated=1, lost=1, unasked=0) == reckon(
        make_sent(ACCEPTED, ACCEPTED), arrivals, first=0, audiences=2, fan_out=2
    )


def test_what_arrives_elsewhere_is_told() -> None:
    """Arrivals at another audience's endpoint, or with a number that was never sent, are named."""
    arrivals = [arrive(0, 1), arrive(7, 0)]

    assert Reckoning(expected=1, arrived=0, repeated=0, lost=1, unasked=2) == reckon(
        make_sent(ACCEPTED), arrivals, first=0, audiences=2, fan_out=1
    )


def test_what_was_not_accepted_cannot_be_lost() -> None:
    """An event that was not accepted may have arrived all the same: an answer that was cut off leaves it open."""
    sent = make_sent(ACCEPTED, (0, 503), (0, 0), (0, 400))
    arrivals = [arrive(0, 0), arrive(2, 0)]

    assert Reckoning(expected=1, arrived=2, repeated=0, lost=0, unasked=0) == reckon(
        sent, arrivals, first=0, audiences=1, fan_out=1
    )
    assert (1, 2, 1) == (sent.count_accepted(), sent.count_unknown(), sent.count_refused())
    assert {"no answer": 1, "201": 1, "400": 1, "503": 1} == sent.describe_statuses()


def test_of_a_batch_each_event_counts() -> None:
    """One of three was refused; the next batch goes to the next audience."""
    sent = make_sent((2, 200), (3, 200), batch=3, refused=frozenset({1}))
    arrivals = [arrive(0, 0), arrive(2, 0), arrive(3, 1), arrive(4, 1)]

    assert [0, 2, 3, 4, 5] == list(sent.list_accepted())
    assert Reckoning(expected=5, arrived=4, repeated=0, lost=1, unasked=0) == reckon(
        sent, arrivals, first=0, audiences=2, fan_out=1
    )


def test_events_without_subscriptions_expect_nothing() -> None:
    """Cases for the gateway alone have no subscriptions."""
    assert Reckoning(expected=0, arrived=0, repeated=0, lost=0, unasked=0) == reckon(
        make_sent(ACCEPTED), [], first=0, audiences=1, fan_out=0
    )


def test_journals_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Negative differences, large times and all."""
    sent = make_sent(ACCEPTED, (0, 503))
    write_columns(tmp_path, "sent.0", sent.columns)
    (tmp_path / "refused.0.json").write_bytes(msgspec.json.encode([5]))
    received = {name: array(code, [number]) for number, (name, code) in enumerate(RECEIVED.items(), 1)}
    write_columns(tmp_path, "received", received)

    assert sent.columns == read_sent(tmp_path, 0, batch=1).columns
    assert frozenset({5}) == read_sent(tmp_path, 0, batch=1).refused
    assert [Arrival(number=5, endpoint=3, intended_us=2, arrived_us=1)] == list(
        read_received(tmp_path).list_arrivals(4)
    )
    assert [] == list(read_received(tmp_path).list_arrivals(0))


def test_a_journal_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    """Nothing lost would be a lie."""
    with pytest.raises(FileNotFoundError):
        read_received(tmp_path)
