"""The examples make what the code reads, and read what the code makes. That they run is tested with real processes."""

import time
from collections.abc import Callable

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from examples import http_producer, kafka_producer, receiver
from pipeline.core.events.event import parse_event
from pipeline.core.events.records import Event
from pipeline.core.signing.signature import format_standard_secret, sign_standard

APPLICATION = "0190f1a2-0000-7000-8000-000000000001"
SECRET = "4f8c1c3e-6f3b-4a57-9b1c-0d6d3d0a8f11"


@pytest.mark.parametrize("form", [kafka_producer.format_json, kafka_producer.format_avro])
def test_what_the_kafka_producer_writes_is_an_event(form: Callable[[str, str, str, dict[str, str]], bytes]) -> None:
    """The event has, in both forms, byte for byte the payload that was given."""
    value = form(APPLICATION, "shop.order.paid", '{"order": 42}', {"environment": "demo"})
    event = parse_event(
        value,
        APPLICATION.encode(),
        topic="hookline.events",
        partition=0,
        offset=0,
        appended_at_us=1_790_000_000_000_000,
    )

    assert isinstance(event, Event), event
    assert (b'{"order": 42}', "shop.order.paid", {"environment": "demo"}) == (
        event.payload,
        event.event_type,
        event.labels,
    )


@pytest.mark.parametrize("secret", [SECRET, format_standard_secret(SECRET)])
def test_the_receiver_takes_a_secret_in_either_form(secret: str) -> None:
    """The receiver accepts bodies that were signed with it, and no others."""
    now_s = int(time.time())
    headers = {
        "webhook-id": "d1",
        "webhook-timestamp": str(now_s),
        "webhook-signature": sign_standard([SECRET.encode()], message_id="d1", body=b"{}", signed_at_s=now_s),
    }
    verifier = receiver.make_verifier(secret)

    assert verifier.verify(b"{}", headers) == {}
    with pytest.raises(WebhookVerificationError):
        verifier.verify(b"[]", headers)


@pytest.mark.parametrize(
    "main", [http_producer.main, kafka_producer.main, receiver.main], ids=lambda main: main.__module__
)
def test_an_example_says_what_it_takes(main: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]) -> None:
    """`--help`, with every option."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_a_producer_says_in_a_line_that_nothing_was_accepted() -> None:
    """Hook0's client raises, and the example ends with its words instead of a trace."""
    with pytest.raises(SystemExit, match="the event was not accepted: "):
        http_producer.main(["--api", "no-address", "--application-id", "a", "--secret", "s"])
