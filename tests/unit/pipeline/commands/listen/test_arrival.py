from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.commands.listen.arrival import Arrival, clean, describe_signature, format_body, format_line, show
from pipeline.core.signing.verification import Absent, Verification

GENUINE = Verification(hook0=None, standard=None)
ARRIVAL = Arrival(
    arrived_at_s=1_795_000_000.1234,
    method="POST",
    path="/hooks?a=1",
    headers={"x-event-type": "shop.order.paid", "x-event-id": "e1", "webhook-id": "d1"},
    body=b'{"a":1}',
    body_bytes=7,
    verification=GENUINE,
)


def test_a_line_says_what_arrived() -> None:
    """Time, type, ids, size, and that it is genuine."""
    time, *rest = format_line(ARRIVAL).split("  ")

    assert ["shop.order.paid", "event e1", "delivery d1", "7 B", "signature ok (hook0, standard)"] == rest
    assert time.endswith(".123")
    assert 12 == len(time)


@pytest.mark.parametrize(
    ("verification", "problem", "words"),
    [
        (None, None, "signature not checked (no secret was given)"),
        (None, "the body did not arrive completely", "signature not checked (the body did not arrive completely)"),
        (Verification(hook0=None, standard=Absent()), None, "signature ok (hook0)"),
        (Verification(hook0="it is old", standard=Absent()), None, "signature WRONG (hook0: it is old)"),
        (Verification(hook0=Absent(), standard=Absent()), None, "signature WRONG (it carries no signature)"),
    ],
)
def test_a_signature_is_described(verification: Verification | None, problem: str | None, words: str) -> None:
    """Good, bad, or not looked at, and why."""
    assert words == describe_signature(replace(ARRIVAL, verification=verification, body_problem=problem))


def test_a_name_is_shown_decoded() -> None:
    """Percent-encoded in the header, for people and for programs as it was created; controls stay out all the same."""
    arrival = replace(ARRIVAL, headers={"x-event-type": "shop.gr%C3%B6%C3%9Fe.neu%1B%0A"})

    assert "shop.größe.neu" in format_line(arrival)
    assert not {"\x1b", "\n"} & set(format_line(arrival))
    assert str(show(arrival, shows_body=False)["event_type"]).startswith("shop.größe.neu")


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_header_ever_reaches_the_terminal_as_a_command(event_type: str, event_id: str) -> None:
    """One printable line, and not an endless one."""
    line = format_line(replace(ARRIVAL, headers={"x-event-type": event_type, "x-event-id": event_id}))

    assert line.isprintable()
    assert len(line) < 400


@given(st.binary(max_size=300))
def test_a_body_is_shown_without_control_characters(body: bytes) -> None:
    """Text as it is, other bytes in base64."""
    shown = format_body(replace(ARRIVAL, body=body, body_bytes=len(body)))

    assert all(character.isprintable() or character in "\n\t" for character in shown)


def test_a_body_of_text_stays_as_it_is() -> None:
    """Letters of any script, and line ends."""
    body = "Grüße\n\t名\x1b[2J".encode()

    assert "Grüße\n\t名\\x1b[2J" == format_body(replace(ARRIVAL, body=body, body_bytes=len(body)))


def test_bytes_are_shown_as_base64() -> None:
    """Bytes that are no text are shown as base64."""
    assert "base64 /wA=" == format_body(replace(ARRIVAL, body=b"\xff\x00", body_bytes=2))


def test_a_long_body_is_cut() -> None:
    """The cut may be in the middle of a character."""
    body = b"a" + "ü".encode() * 20_000

    shown = format_body(replace(ARRIVAL, body=body, body_bytes=len(body)))

    assert shown.startswith("aüü")
    assert shown.endswith("\n... 23,617 B more")


def test_programs_get_the_same_as_an_object() -> None:
    """The program gets the body as well if asked for."""
    shown = show(ARRIVAL, shows_body=True)

    assert {
        "arrived_at": "2026-11-18T11:06:40.123400Z",
        "method": "POST",
        "path": "/hooks?a=1",
        "event_type": "shop.order.paid",
        "event_id": "e1",
        "delivery_id": "d1",
        "body_bytes": 7,
        "is_genuine": True,
        "schemes": ["hook0", "standard"],
        "signature": "signature ok (hook0, standard)",
        "body": '{"a":1}',
    } == shown
    assert "body" not in show(ARRIVAL, shows_body=False)


def test_long_texts_are_cut() -> None:
    """A mark shows where the text was cut."""
    assert ["abc", "ab…", "a?c"] == [clean("abc", 3), clean("abc", 2), clean("a\nc", 3)]
