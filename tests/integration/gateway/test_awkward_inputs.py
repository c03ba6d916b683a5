"""Text that lower layers choke on: whatever is sent as whatever input of whatever operation, it is never a 500."""

import json
import re
from collections import Counter
from urllib.parse import quote
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.integration.gateway.inputs import (
    HEADERS,
    Operation,
    list_operations,
    list_query_names,
    list_texts,
    replace_text,
)
from tests.support.api import OCCURRED_AT, Space
from tests.support.raw_http import RawHttp, RawReply, write_request
from tests.support.stack import MASTER_KEY, Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TAKES_EVENTS = ("/event", "/events", "/cloudevents")
TYPE = "billing.invoice.paid"
MARK = "@@"
URL = r'<[^\s\x00"<>]+>'
LINK = re.compile(rf'(?:{URL}; rel="next", )?{URL}; rel="(?:next|prev)"')
LONG = "x" * 10_000
FIRST, LAST = b"0000-01-01T00:00:00+23:59", b"9999-12-31T23:59:60.9999999-23:59"

# name → the bytes that stand in a JSON string, the characters that stand percent-encoded in a URL, the raw bytes
AWKWARD: dict[str, tuple[bytes, bytes, bytes]] = {
    "NUL": (rb"a\u0000b", b"a%00b", b"a\x00b"),
    "raw NUL": (b"a\x00b", b"%00", b"\x00"),
    "lone surrogate": (rb"a\ud800b", b"a%ED%A0%80b", b"a\xed\xa0\x80b"),
    "raw surrogate": (b"a\xed\xb0\x80b", b"%ED%B0%80", b"\xed\xb0\x80"),
    "invalid UTF-8": (b"a\xff\xfeb", b"a%FF%FEb", b"a\xff\xfeb"),
    "Latin-1": (b"caf\xe9", b"caf%E9", b"caf\xe9"),
    "10,000 characters": (LONG.encode(), LONG.encode(), LONG.encode()),
    "right-to-left marks": ("a\u202eb\u200f".encode(), quote("a\u202eb\u200f").encode(), "a\u202eb\u200f".encode()),
    "line break": (rb"a\r\nb", b"a%0D%0Ab", b"a\tb"),
    "line separator": ("a\u2028b".encode(), quote("a\u2028b").encode(), "a\u2028b".encode()),
    "quotes": (rb"a\"'<>;b", b"a%22%27%3C%3E;b", b"a\"'<>;b"),
    "noncharacter": ("\uffff\U0010ffff".encode(), quote("\uffff\U0010ffff").encode(), "\uffff".encode()),
    "empty": (b"", b"", b""),
    "the first moment": (FIRST, FIRST.replace(b"+", b"%2B"), FIRST),
    "the last moment": (LAST, LAST, LAST),
}


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def known(stack: Stack) -> dict[str, str]:
    """Field → a value that is right."""
    space: Space = await stack.api.make_space(TYPE)
    subscription = await stack.api.subscribe(space, "http://example.com/", TYPE)
    event_id = await stack.api.send(space, TYPE)
    return {
        "application_id": space.application_id,
        "organization_id": space.organization_id,
        "subscription_id": subscription["subscription_id"],
        "event_id": event_id,
        "token": str(uuid4()),
        "name": TYPE,
        "example": "{}",
        "event_type": TYPE,
        "event_types": TYPE,
        "event.event_type_names": TYPE,
        "payload": "{}",
        "payload_content_type": "application/json",
        "occurred_at": OCCURRED_AT,
        "min_created_at": OCCURRED_AT.replace("2026", "2020"),
        "max_created_at": OCCURRED_AT,
        "min_died_at": OCCURRED_AT.replace("2026", "2020"),
        "max_died_at": OCCURRED_AT,
        "method": "POST",
        "url": "http://example.com/",
        "dedicated_workers": "none",
        "dead_ids": str(uuid4()),
    }


def list_kept(known: dict[str, str]) -> list[Operation]:
    """The operations, without those that would delete what the others need when an awkward value does not matter."""
    return [
        operation
        for operation in list_operations(known)
        if operation.method != "DELETE" or "organization" not in operation.path
    ]


class Walk:
    """Sends one request after the other and keeps account of the answers."""

    def __init__(self, client: RawHttp, known: dict[str, str]) -> None:
        self.client = client
        self.known = known
        self.answers: Counter[int] = Counter()
        self.wrong: list[str] = []

    async def send(
        self,
        operation: Operation,
        about: str,
        *,
        path: dict[str, bytes] | None = None,
        query: dict[str, bytes] | None = None,
        headers: dict[str, bytes] | None = None,
        body: bytes | None = None,
    ) -> None:
        """One request, right but for what is given."""
        parts = {name: self.known.get(name, str(uuid4())).encode() for name in operation.path_names} | (path or {})
        if operation.method == "DELETE" and path is None:
            parts |= dict.fromkeys(parts, b"b2ff4b87-5d1f-4a56-9f4c-3f2a65dd9a4c")  # nothing is there to be deleted
        target = operation.path
        for name, value in parts.items():
            target = target.replace(f"{{{name}}}", value.decode("latin-1"))
        # organizations are named where they are wanted, and elsewhere not minded
        members = {name: self.known[name].encode() for name in ("application_id", "organization_id")} | (query or {})
        text = b"&".join(b"%s=%s" % (name.encode(), value) for name, value in members.items())
        own = {"Authorization": f"Bearer {MASTER_KEY}".encode()}
        if operation.body is not None:
            own["Content-Type"] = b"application/json"
            body = body if body is not None else json.dumps(operation.body).encode()
        request = write_request(operation.method, target.encode("latin-1") + b"?" + text, own | (headers or {}), body)
        try:
            self.judge(f"{operation.name}, {about}", await self.client.exchange(request))
        except (ConnectionError, EOFError) as error:
            self.wrong.append(f"{operation.name}, {about}: {error!r}")

    def judge(self, about: str, reply: RawReply) -> None:
        self.answers[reply.status] += 1
        if reply.status >= 500:
            self.wrong.append(f"{about}: {reply.status} {reply.body[:200]!r}")
        elif reply.status >= 400:
            try:
                assert reply.status == reply.problem[0]
            except AssertionError as error:
                self.wrong.append(f"{about}: {error}")
        link = reply.headers.get("link")
        if link is not None and not LINK.fullmatch(link):
            self.wrong.append(f"{about}: Link {link!r}")


async def test_paths_and_queries(stack: Stack, known: dict[str, str]) -> None:
    """Every part of a path and every member of a query of every operation (RFC 3986 §2.5: percent-encoded UTF-8)."""
    names = list_query_names()
    async with RawHttp(stack.api.url) as client:
        walk = Walk(client, known)
        for operation in list_kept(known):
            for about, (_, encoded, _raw) in AWKWARD.items():
                for part in operation.path_names:
                    await walk.send(operation, f"{part}={about}", path={part: encoded})
                for name in names[operation.name]:
                    await walk.send(operation, f"?{name}={about}", query={name: encoded})
            await walk.send(operation, "a name that is awkward", query={"%00%FF": b"%00"})

        assert [] == walk.wrong
        assert {"application_id", "event.event_type_names", "pagination_cursor", "reason", "min_died_at"} <= {
            name for members in names.values() for name in members
        }
        assert sum(walk.answers.values()) > 500


async def test_bodies(stack: Stack, known: dict[str, str]) -> None:
    """Every text of every body of every operation, keys of maps included (RFC 8259 §7, §8.1)."""
    async with RawHttp(stack.api.url) as client:
        walk = Walk(client, known)
        for operation in list_kept(known):
            if operation.body is None:
                continue
            for path in list_texts(operation.body):
                for about, (in_json, _, _) in AWKWARD.items():
                    body = json.dumps(replace_text(operation.body, path, MARK)).encode()
                    await walk.send(operation, f"{path}={about}", body=body.replace(MARK.encode(), in_json))

        assert [] == walk.wrong
        assert {200, 201, 400, 422} <= walk.answers.keys()


async def test_headers(stack: Stack, known: dict[str, str]) -> None:
    """Every header that the gateway reads, of every operation (RFC 9110 §5.5).

    An operation meets every header and every value, and the three that take events each header with each value. The
    others have their headers read in the same place, so that their combinations are shared out among them.
    """
    async with RawHttp(stack.api.url) as client:
        walk = Walk(client, known)
        for number, operation in enumerate(list_kept(known)):
            for turn, (about, (_, _, raw)) in enumerate(AWKWARD.items()):
                names = HEADERS if operation.path.endswith(TAKES_EVENTS) else [HEADERS[(number + turn) % len(HEADERS)]]
                for name in names:
                    await walk.send(operation, f"{name}: {about}", headers={name: raw})

        assert [] == walk.wrong
        assert {400, 401, 403} & walk.answers.keys()


async def test_what_was_taken_can_be_read(stack: Stack, known: dict[str, str]) -> None:
    """Everything can still be listed after all that, through the other gateway too."""
    for api in stack.apis:
        for path in ("events", "event_types", "subscriptions", "request_attempts", "application_secrets"):
            reply = await api.call("GET", f"/{path}?application_id={known['application_id']}")

            assert 200 == reply.status, path
