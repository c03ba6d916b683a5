import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.records import Delivery, Event
from pipeline.core.log.checksum import choose_sum, is_corrupt, sum_content

EVENT_ID = "0190f1a2-0000-7000-8000-000000000003"


def make_event(payload: bytes) -> Event:
    return Event(
        application_id="a",
        event_id=EVENT_ID,
        event_type="billing.invoice.paid",
        payload=payload,
        payload_content_type="application/json",
        labels={},
        occurred_at_us=0,
        received_at_us=0,
        content_crc32=sum_content(EVENT_ID, "billing.invoice.paid", "application/json", payload),
    )


@given(st.binary(min_size=1), st.integers(0))
def test_any_wrong_bit_of_the_payload_is_found(payload: bytes, at: int) -> None:
    """One bit differs: the content does not fit its checksum any more."""
    event = make_event(payload)
    changed = bytearray(payload)
    changed[at // 8 % len(payload)] ^= 1 << at % 8

    assert not is_corrupt(event)
    assert is_corrupt(msgspec.structs.replace(event, payload=bytes(changed)))


def test_what_goes_into_headers_is_covered() -> None:
    """A receiver also gets the event's id, its type and its content type."""
    event = make_event(b"{}")

    assert is_corrupt(msgspec.structs.replace(event, event_type="billing.invoice.paie"))
    assert is_corrupt(msgspec.structs.replace(event, event_id=EVENT_ID[:-1] + "2"))
    assert is_corrupt(msgspec.structs.replace(event, payload_content_type="application/jsoo"))


def test_text_does_not_move_between_fields() -> None:
    """Text that moves from one field to the next changes the sum."""
    assert sum_content("a", "b", "c", b"d") != sum_content("ab", "", "c", b"d")
    assert sum_content("a", "b", "cd", b"") != sum_content("a", "b", "c", b"d")


def test_without_a_checksum_nothing_is_wrong() -> None:
    """Producers that speak Kafka, and writers of the version before, give none; it is computed at the first reading."""
    event = msgspec.structs.replace(make_event(b"{}"), content_crc32=None)

    assert not is_corrupt(event)
    assert make_event(b"{}").content_crc32 == choose_sum(event)


def test_a_known_value() -> None:
    """The schema names the algorithm; this is what another implementation must come to."""
    delivery = Delivery(
        delivery_id="",
        subscription_id="",
        application_id="",
        event_id="i",
        event_type="t",
        payload=b"p",
        payload_content_type="c",
        appended_at_us=0,
        received_at_us=0,
        matched_at_us=0,
    )

    # zlib.crc32(b"i\nt\nc\np")
    assert 0xA14DBF8A == choose_sum(delivery)
