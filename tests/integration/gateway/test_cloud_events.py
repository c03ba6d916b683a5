"""CloudEvents over HTTP, as the SDK of CloudEvents writes them."""

import json
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from tests.support.api import Reply, Space
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack
from tests.support.verification import verify_delivery

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


def make(**members: Any) -> dict[str, Any]:
    """A CloudEvent in the structured mode."""
    return {"specversion": "1.0", "id": "7", "source": "/billing", "type": TYPE} | members


async def post(stack: Stack, space: Space, body: bytes, content_type: str, **attributes: str) -> Reply:
    """Send a CloudEvent."""
    headers = {"Authorization": f"Bearer {space.secret}", "Content-Type": content_type}
    headers |= {f"ce-{name}": value for name, value in attributes.items()}
    path = f"/cloudevents?application_id={space.application_id}"
    return await stack.api.call("POST", path, data=body, headers=headers)


async def show(stack: Stack, space: Space, event_id: str) -> dict[str, Any]:
    """Read the event and its payload back."""
    reply = await stack.api.call("GET", f"/events/{event_id}?application_id={space.application_id}")
    payload = await stack.api.call("GET", f"/events/{event_id}/payload?application_id={space.application_id}")
    return dict(reply.json) | {"payload": payload.body}


async def test_each_mode_is_the_same_event(stack: Stack) -> None:
    """Structured, binary and in a batch: accepted once, delivered byte for byte."""
    space = await stack.api.make_space(TYPE)
    data = '{"n":  1.0}'
    structured = json.dumps(make(time="2026-01-02T03:04:05Z", region="eu", subject="s1"))[:-1] + f', "data": {data}}}'
    attributes = {
        "specversion": "1.0",
        "id": "7",
        "source": "%2Fbilling",
        "type": TYPE,
        "region": "eu",
        "subject": "s1",
    }
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE, labels={"region": "eu", "source": "/billing"})
        first = await post(stack, space, structured.encode(), STRUCTURED)
        again = await post(stack, space, data.encode(), "application/json", **attributes)
        batch = await post(stack, space, f"[{structured}, {json.dumps(make(id='8'))}]".encode(), BATCH)
        await eventually(lambda: len(receiver.requests("/a")) == 1)
        shown = await show(stack, space, first.json["event_id"])

        assert 201 == first.status, first.text
        assert str(uuid5(NAMESPACE_URL, "/billing\n7")) == first.json["event_id"]
        assert (409, "EventAlreadyIngested") == again.problem
        assert [409, 201] == [each["status"] for each in batch.json["results"]]
        assert [data.encode()] == [request.body for request in receiver.requests("/a")]
        assert {"source": "/billing", "subject": "s1", "region": "eu"} == shown["labels"]
        assert "2026-01-02T03:04:05.000000Z" == shown["occurred_at"]


async def test_payloads_of_each_kind(stack: Stack) -> None:
    """JSON, text and bytes; an id that is a UUID stays."""
    space = await stack.api.make_space(TYPE)
    sent = [
        (make(data={"a": 1}), "application/json", b'{"a": 1}'),
        (make(data="<a/>", datacontenttype="application/xml"), "text/plain", b"<a/>"),
        (make(data_base64="AP8=", datacontenttype="image/png"), "application/octet-stream+base64", b"\x00\xff"),
        (make(data_base64="e30=", datacontenttype="application/vnd.x+json"), "application/json", b"{}"),
        (make(), "application/json", b"null"),
        (make(time=None, subject=None, region=None, data_base64=None), "application/json", b"null"),
    ]
    for event, content_type, payload in sent:
        event_id = str(uuid4())
        reply = await post(stack, space, json.dumps(event | {"id": event_id}).encode(), STRUCTURED)
        shown = await show(stack, space, event_id)

        assert (201, event_id) == (reply.status, reply.json["event_id"]), reply.text
        assert (content_type, payload) == (shown["payload_content_type"], shown["payload"])
    raw = await post(stack, space, b"\x00\xff", "image/png", specversion="1.0", id="x", source="/b", type=TYPE)

    assert b"\x00\xff" == (await show(stack, space, raw.json["event_id"]))["payload"]


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"{", STRUCTURED, (400, "JsonPayload")),
        (b"[]", STRUCTURED, (400, "JsonPayload")),
        (b"{}", STRUCTURED, (400, "JsonPayload")),
        (b"{}", "application/json", (400, "JsonPayload")),
        (b"{}", BATCH, (400, "JsonPayload")),
        (b"[]", BATCH, (422, "Validation")),
        (json.dumps(make(specversion="0.3")).encode(), STRUCTURED, (400, "JsonPayload")),
        (json.dumps(make(id=7)).encode(), STRUCTURED, (400, "JsonPayload")),
        (json.dumps(make(time="now")).encode(), STRUCTURED, (400, "JsonPayload")),
        (json.dumps(make(data=1, data_base64="")).encode(), STRUCTURED, (400, "JsonPayload")),
        (json.dumps(make(data_base64="?")).encode(), STRUCTURED, (400, "JsonPayload")),
        (json.dumps(make(extension={})).encode(), STRUCTURED, (400, "JsonPayload")),
        (json.dumps(make(extension="x" * 51)).encode(), STRUCTURED, (422, "Validation")),
        (json.dumps(make(type="un.heard.of")).encode(), STRUCTURED, (400, "EventTypeDoesNotExist")),
    ],
)
async def test_what_is_no_cloud_event(stack: Stack, body: bytes, content_type: str, expected: tuple[int, str]) -> None:
    """A request that is no CloudEvent is refused, with the reason."""
    space = await stack.api.make_space(TYPE)

    assert expected == (await post(stack, space, body, content_type)).problem


@pytest.mark.parametrize("mode", ["cloudevents-structured", "cloudevents-binary"])
async def test_deliveries_are_cloud_events_where_their_subscription_says_so(stack: Stack, mode: str) -> None:
    """The SDK reads JSON, text and bytes again; signatures hold over what was sent; others get the payload alone."""
    space = await stack.api.make_space(TYPE)
    payloads = {
        "application/json": ('{"n":  1.0}', b'{"n":  1.0}'),
        "text/plain": ("caf\u00e9", "caf\u00e9".encode()),
        "application/octet-stream+base64": ("AP8=", b"\x00\xff"),
    }
    async with Receiver() as receiver:
        plain = await stack.api.subscribe(space, receiver.url("/plain"), TYPE)
        made = await stack.api.subscribe(space, receiver.url("/cloud"), TYPE, delivery={"event_format": mode})
        sent = {
            await stack.api.send(space, TYPE, payload=text, payload_content_type=kind): (kind, body)
            for kind, (text, body) in payloads.items()
        }
        await eventually(lambda: [3, 3] == [len(receiver.requests(path)) for path in ("/plain", "/cloud")])
        requests = receiver.requests("/cloud")

        assert (mode, "plain") == (made["delivery"]["event_format"], plain["delivery"]["event_format"])
        assert {body for _, body in sent.values()} == {request.body for request in receiver.requests("/plain")}
        for request in requests:
            verify_delivery(request, made["secret"])
            event = from_http_event(HTTPMessage(headers=dict(request.headers), body=request.body))
            kind, body = sent[str(event.get_id())]
            data = event.get_data()

            assert TYPE == event.get_type()
            assert f"/applications/{space.application_id}" == event.get_source()
            assert event.get_time() is not None
            assert kind.removesuffix("+base64") == event.get_datacontenttype()
            assert data in (body, body.decode(errors="replace"), {"n": 1.0})
        if mode == "cloudevents-structured":
            assert any(b'"data":{"n":  1.0}' in request.body for request in requests)
