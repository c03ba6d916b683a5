"""A key that is missing holds up the endpoints that need it, and no others."""

import msgspec
import pytest
from structlog.testing import capture_logs

from connectors.http.key_watch import KeyWatch
from pipeline.core.events.records import Endpoint
from pipeline.core.signing.sealing import Sealer
from pipeline.metrics import Metrics
from pipeline.start_error import StartError
from tests.support.outbound import SEALER, SUBSCRIPTION_ID, make_endpoint
from tests.unit.connectors.http.sink_alone import Endpoints, SinkAlone

OLD, NEW = ("test", bytes(range(32))), ("new", bytes(32))
WRONG = Sealer([("test", bytes(32))])


def seal(key: Sealer, subscription_id: str, valid_until_us: int | None = None) -> dict[str, object]:
    sealed = key.seal(b"4f8c1c3e-6f3b-4a57-9b1c-0d6d3d0a8f11", context=subscription_id, nonce=bytes(12))
    return {"key_id": sealed.key_id, "sealed": sealed.sealed, "valid_until_us": valid_until_us}


def make(subscription_id: str, *secrets: dict[str, object]) -> Endpoint:
    return msgspec.structs.replace(
        make_endpoint("https://example.com/"), subscription_id=subscription_id, secrets=list(secrets)
    )


def test_a_start_names_the_keys_that_are_missing() -> None:
    """The process starts, for the endpoints it can sign for; health is red and names the key."""
    endpoints = Endpoints(make("a", seal(SEALER, "a")), make("b", seal(Sealer([NEW]), "b")))
    metrics = Metrics("deliver")
    watch = KeyWatch(endpoints, SEALER, metrics)
    with capture_logs() as logs:
        watch.verify()

    assert ["'new'"] == [entry["keys"] for entry in logs]
    assert "1 endpoints wait for the sealing keys 'new'" == watch.check()
    assert 1 == metrics.registry.get_sample_value("hookline_endpoints_without_key")


@pytest.mark.parametrize("sealer", [Sealer([NEW]), WRONG], ids=["missing", "wrong"])
def test_a_start_that_could_sign_nothing_is_refused(sealer: Sealer) -> None:
    """The refusal says which key is missing."""
    with capture_logs(), pytest.raises(StartError, match="test"):
        KeyWatch(Endpoints(make("a", seal(SEALER, "a"))), sealer, Metrics("deliver")).verify()


def test_health_is_green_when_the_key_is_not_needed_any_more() -> None:
    """The secret was sealed again with a key that is here, or is no longer valid."""
    endpoints = Endpoints(make("a", seal(SEALER, "a")), make("b", seal(Sealer([NEW]), "b")))
    watch = KeyWatch(endpoints, SEALER, Metrics("deliver"))
    with capture_logs():
        watch.verify()
    endpoints.known["b"] = make("b", seal(SEALER, "b"), seal(Sealer([NEW]), "b", valid_until_us=1))
    watch.look()

    assert watch.check() is None


async def test_a_delivery_waits_for_its_key() -> None:
    """Parked as it is, without an attempt; with the key it goes on."""
    endpoint = make(SUBSCRIPTION_ID, seal(Sealer([NEW]), SUBSCRIPTION_ID))
    alone = SinkAlone(endpoint)
    await alone.put()

    assert ["retries.1s"] == alone.log.names()
    assert 1 == alone.metrics.registry.get_sample_value("hookline_parked_total", {"reason": "key_missing"})
    again = SinkAlone(endpoint, sealer=Sealer([OLD, NEW]))
    await again.put(alone.log.retries()[0])
    assert ["succeeded"] == [attempt.outcome for attempt in again.log.attempts()]


async def test_a_secret_that_is_no_longer_valid_needs_no_key() -> None:
    """The key of a secret that was rotated away may be gone."""
    old = seal(Sealer([NEW]), SUBSCRIPTION_ID, valid_until_us=1)
    alone = SinkAlone(make(SUBSCRIPTION_ID, seal(SEALER, SUBSCRIPTION_ID), old))
    await alone.put()

    assert ["succeeded"] == [attempt.outcome for attempt in alone.log.attempts()]


def test_the_key_that_seals_is_named() -> None:
    """A new key is known to all before it seals: it may stand anywhere in the file."""
    sealer = Sealer([NEW, OLD], seal_with="test")

    assert "test" == sealer.seal(b"x", context="c", nonce=bytes(12)).key_id
