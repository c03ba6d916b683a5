"""Bundles: deliveries of one event to several subscriptions in one record, as long as all of them wait for capacity.

An event for 500 endpoints that refuse is 500 deliveries, which wait in retry topics and come back again and again. In
bundles of a hundred they are read and written in a hundredth of the records. A bundle holds first attempts only. Its
deliveries are told apart before anything is sent: attempts, retries and dead letters are of single ones.
"""

from collections.abc import Iterator, Sequence

import msgspec

import schemas
from pipeline.core.events.ids import derive_delivery_id
from pipeline.core.events.records import Bundle, Delivery, expect

# So many are taken apart, and bundled anew, in one turn of the loop.
SUBSCRIPTIONS_MAX = 100
HEADERS = tuple(schemas.list_headers("bundle"))


def is_bundle(value: bytes | None) -> bool:
    """Is this record a bundle, of any version?"""
    return value is not None and value.startswith(HEADERS)


def single_out(bundle: Bundle, subscription_id: str) -> Delivery:
    """The delivery of a bundle's event to one subscription."""
    return Delivery(
        delivery_id=derive_delivery_id(bundle.event_id, subscription_id, bundle.application_id),
        subscription_id=subscription_id,
        application_id=bundle.application_id,
        event_id=bundle.event_id,
        event_type=bundle.event_type,
        payload=bundle.payload,
        payload_content_type=bundle.payload_content_type,
        appended_at_us=bundle.appended_at_us,
        received_at_us=bundle.received_at_us,
        matched_at_us=bundle.matched_at_us,
        routes_version=bundle.routes_version,
        content_crc32=bundle.content_crc32,
        payload_partition=bundle.payload_partition,
        payload_offset=bundle.payload_offset,
        payload_bytes=bundle.payload_bytes,
    )


def narrow(bundle: Bundle, subscription_ids: Sequence[str]) -> Bundle:
    """The bundle of the same event's deliveries to these subscriptions."""
    return msgspec.structs.replace(bundle, subscriptions=[{"subscription_id": each} for each in subscription_ids])


def take_apart(bundle: Bundle) -> Iterator[Delivery]:
    """The deliveries in a bundle, as if each had been written by itself."""
    return (single_out(bundle, each["subscription_id"]) for each in bundle.subscriptions)


def read_deliveries(value: bytes) -> Sequence[Delivery]:
    """The deliveries in a record of a topic of deliveries: one, or those of a bundle. Raises `schemas.SchemaError`."""
    return list(take_apart(expect(Bundle, value))) if is_bundle(value) else [expect(Delivery, value)]
