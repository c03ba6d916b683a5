"""Deliveries as CloudEvents 1.0, in the structured mode (JSON) and in the binary mode of HTTP. Pure."""

from base64 import b64encode
from contextlib import suppress
from urllib.parse import quote

import msgspec

from pipeline.core.events.claim_check import Payload
from pipeline.core.events.cloud_events import HEADER_PREFIX
from pipeline.core.events.content_types import BINARY_TYPE, JSON_TYPE
from pipeline.core.events.moments import show_moment
from pipeline.core.events.records import Delivery

BYTES_TYPE = "application/octet-stream"
YEAR_1_US = -62_135_596_800_000_000
# all visible ASCII but `"` and `%`: what the HTTP binding leaves as it is
PLAIN = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


def write_structured(delivery: Delivery, payload: Payload) -> bytes:
    """The body. A JSON payload stands in it byte for byte."""
    attributes = msgspec.json.encode(_list_attributes(delivery) | {"datacontenttype": name_data_type(delivery)})
    member, data = _write_data(delivery.payload_content_type, payload)
    return b"".join((attributes[:-1], b',"', member, b'":', data, b"}"))


def write_headers(delivery: Delivery) -> dict[str, str]:
    """The headers of the binary mode; the content type and the body are the payload's."""
    return {
        f"{HEADER_PREFIX}{name}": quote(value, safe=PLAIN, errors="replace")
        for name, value in _list_attributes(delivery).items()
    }


def name_data_type(delivery: Delivery) -> str:
    """The standard media type of the payload, whose bytes are sent as they are."""
    return BYTES_TYPE if delivery.payload_content_type == BINARY_TYPE else delivery.payload_content_type


def _list_attributes(delivery: Delivery) -> dict[str, str]:
    return {
        "specversion": "1.0",
        "id": delivery.event_id,
        "source": f"/applications/{delivery.application_id}",
        "type": delivery.event_type,
        # producers of Kafka may say any time; many readers know no year 0
        "time": show_moment(max(delivery.received_at_us, YEAR_1_US)),
    }


def _write_data(content_type: str, payload: Payload) -> tuple[bytes, Payload]:
    """The name of the member that carries the payload, and its value as JSON."""
    if content_type == JSON_TYPE:
        return b"data", payload
    if content_type != BINARY_TYPE:
        # Kafka producers may declare as text a payload that is not text
        with suppress(UnicodeDecodeError):
            return b"data", msgspec.json.encode(str(payload, "utf-8"))
    return b"data_base64", b'"%b"' % b64encode(payload)
