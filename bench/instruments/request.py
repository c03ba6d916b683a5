"""The requests of the generator, as bytes. Constant parts are put together once: a request costs two joins."""

from urllib.parse import urlsplit

import msgspec

from bench.instruments.plan import Audience, StreamPlan
from bench.instruments.stamp import FORMAT, OPENING, STAMP_CHARS, close_payload

CONTENT_TYPE = "application/json"
OCCURRED_AT = "2026-01-01T00:00:00Z"


class RequestWriter:
    """Writes the requests of one stream."""

    def __init__(self, plan: StreamPlan, *, api: str, payloads: list[str], has_event_ids: bool, run_id: int) -> None:
        """`run_id`: less than 4,096, tells the event ids of this run from those of others."""
        self._stream = plan.number
        self._batch = plan.batch
        self._audiences = plan.audiences
        self._has_event_ids = has_event_ids
        self._run_id = run_id
        place = urlsplit(api)
        path = f"{place.path}/event" if plan.batch == 1 else f"{place.path}/events"
        self._start = f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        # within JSON the payload is a string
        self._opening = b'"payload":"' + _escape(OPENING)
        self._payloads = [_escape(close_payload(payload)) + b'"}' for payload in payloads]
        self._heads: dict[tuple[int, int], bytes] = {}  # by audience and payload

    def write(self, number: int, intended_us: int) -> bytes:
        """The request with the events that start with `number`."""
        if self._batch > 1:
            return self._write_batch(number, intended_us)
        audience, payload = number % len(self._audiences), number % len(self._payloads)
        head = self._heads.get((audience, payload)) or self._make_head(audience, payload)
        if not self._has_event_ids:
            return b"".join(
                (head, self._opening, FORMAT % (intended_us, self._stream, number), self._payloads[payload])
            )
        return b"".join(
            (
                head,
                self._format_id(number, intended_us),
                self._opening,
                FORMAT % (intended_us, self._stream, number),
                self._payloads[payload],
            )
        )

    def find_audience(self, number: int) -> int:
        """Find the audience that an event goes to."""
        return number // self._batch % len(self._audiences)

    def _write_batch(self, number: int, intended_us: int) -> bytes:
        audience = self._audiences[self.find_audience(number)]
        content = b"{" + _show_content(audience) + b","
        events = []
        for each in range(number, number + self._batch):
            event_id = self._format_id(each, intended_us) if self._has_event_ids else b""
            stamp = FORMAT % (intended_us, self._stream, each)
            payload = self._payloads[each % len(self._payloads)]
            events.append(b"".join((content, event_id, self._opening, stamp, payload)))
        opening = b'{"application_id":' + _to_json(audience.application_id) + b',"events":['
        body = b"".join((opening, b",".join(events), b"]}"))
        return self._format_head(audience, len(body)) + body

    def _make_head(self, audience: int, payload: int) -> bytes:
        """Everything before the event's id, or the payload; the body's length is known already."""
        whom = self._audiences[audience]
        start = b'{"application_id":' + _to_json(whom.application_id) + b"," + _show_content(whom) + b","
        id_bytes = len(self._format_id(0, 0)) if self._has_event_ids else 0
        length = len(start) + id_bytes + len(self._opening) + STAMP_CHARS + len(self._payloads[payload])
        head = self._heads[audience, payload] = self._format_head(whom, length) + start
        return head

    def _format_head(self, audience: Audience, length: int) -> bytes:
        return f"{self._start}Authorization: Bearer {audience.secret}\r\nContent-Length: {length}\r\n\r\n".encode()

    def _format_id(self, number: int, intended_us: int) -> bytes:
        """Format an id like Hook0's clients (UUIDv7): the time first; the rest is ours."""
        now_ms = intended_us // 1000
        ids = (now_ms >> 16, now_ms & 0xFFFF, self._run_id, self._stream, number)
        return b'"event_id":"%08x-%04x-7%03x-80%02x-%012x",' % ids


def _show_content(audience: Audience) -> bytes:
    members = {
        "event_type": audience.event_type,
        "payload_content_type": CONTENT_TYPE,
        "occurred_at": OCCURRED_AT,
        "labels": audience.labels,
    }
    return _to_json(members)[1:-1]


def _escape(text: str) -> bytes:
    return _to_json(text)[1:-1]


def _to_json(value: object) -> bytes:
    return msgspec.json.encode(value)
