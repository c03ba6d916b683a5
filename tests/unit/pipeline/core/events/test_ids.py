from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.ids import derive_attempt_id, derive_delivery_id, derive_record_id, is_uuid

IDS = st.uuids().map(str)


@given(IDS, IDS, IDS)
def test_a_delivery_id_is_a_uuid5(event_id: str, subscription_id: str, application_id: str) -> None:
    """The id of a delivery can be computed: uuid5 in the name space of the event's id."""
    expected = str(uuid5(UUID(event_id), f"{application_id}/{subscription_id}"))

    assert expected == derive_delivery_id(event_id, subscription_id, application_id)


@given(IDS, st.integers(1, 2**31))
def test_an_attempt_id_is_a_uuid5(delivery_id: str, attempt_number: int) -> None:
    """An attempt's id is the uuid5 of its number in the name space of the delivery's id."""
    assert str(uuid5(UUID(delivery_id), str(attempt_number))) == derive_attempt_id(delivery_id, attempt_number)


@given(
    st.text(st.characters(codec="utf-8")),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(-1000, 2**63 - 1),
)
def test_a_records_id_is_a_uuid5(topic: str, partition: int, offset: int, time_us: int) -> None:
    """The id that a record gives is the uuid5 of its coordinates and its time in the nil name space."""
    expected = str(uuid5(UUID(int=0), f"{topic}/{partition}/{offset}@{time_us}"))

    assert expected == derive_record_id(topic, partition, offset, time_us)


@given(IDS, IDS, IDS, IDS)
def test_tenants_never_share_a_delivery_id(event_id: str, subscription_id: str, one: str, other: str) -> None:
    """Event ids are unique within an application only: the same one in two of them makes two deliveries."""
    same = derive_delivery_id(event_id, subscription_id, one) == derive_delivery_id(event_id, subscription_id, other)

    assert (one == other) == same


@given(IDS)
def test_every_derived_id_has_the_form_that_ids_have(some_id: str) -> None:
    """A derived id passes the check that ids from outside must pass."""
    assert is_uuid(derive_attempt_id(some_id, 1))
    assert is_uuid(some_id)


@given(st.text())
def test_only_the_canonical_form_is_an_id(text: str) -> None:
    """A text that is taken reads and writes as a UUID unchanged."""
    assert not is_uuid(text) or str(UUID(text)) == text


def test_other_spellings_of_a_uuid_are_no_ids() -> None:
    """One id in two spellings would be two keys in Kafka and one in PostgreSQL."""
    canonical = "0190f1a2-0000-7000-8000-00000000000a"
    spellings = [
        canonical.upper(),
        canonical.replace("-", ""),
        f"{{{canonical}}}",
        f"urn:uuid:{canonical}",
        f" {canonical}",
        "",
    ]

    assert [True] + [False] * len(spellings) == [is_uuid(text) for text in [canonical, *spellings]]
