"""Endpoints with a certificate authority of their own, which want to know who calls."""

import json
import time
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from tests.support.api import describe_subscription
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.receiver import Receiver, Status
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
EXPIRING = "hookline.subscription.certificate_expiring"
SOON = timedelta(hours=3)


async def test_own_authority_and_client_certificate(stack: Stack, tmp_path: Path) -> None:
    """Deliveries reach an endpoint that only its own CA vouches for and that demands a certificate."""
    authority = Authority(tmp_path)
    certificate, key = authority.client_certificate("hookline")
    context = authority.server_context("localhost", asks_for_client_certificate=True)
    space = await stack.api.make_space(TYPE)
    tls = {"tls_ca_pem": authority.ca_file.read_text(), "tls_client_cert_pem": certificate}
    async with Receiver(tls=context, name="localhost") as receiver:
        created = await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery=tls | {"tls_client_key_pem": key})
        await stack.api.send(space, TYPE)
        await eventually(lambda: len(receiver.requests()) == 1)
        path = f"/subscriptions/{created['subscription_id']}"
        body = describe_subscription(space.application_id, receiver.url("/b"), TYPE, delivery=tls)
        replaced = await stack.api.call("PUT", path, body, token=space.secret)
        await stack.api.send(space, TYPE)
        await eventually(lambda: len(receiver.requests("/b")) == 1)
        with psycopg.connect(stack.database_url) as connection:
            stored = str(connection.execute("select * from subscriptions").fetchall())

        assert replaced.json["delivery"]["has_tls_client_key"]
        assert "PRIVATE KEY" not in str(created) + stored


async def test_unusable_certificates_are_refused(stack: Stack, tmp_path: Path) -> None:
    """A useless value is refused when it is set: no PEM, a key without its certificate, another certificate's key."""
    authority = Authority(tmp_path)
    certificate, key = authority.client_certificate("hookline")
    _, other_key = authority.client_certificate("other")
    space = await stack.api.make_space(TYPE)
    refused = [
        {"tls_ca_pem": "nonsense"},
        {"tls_client_cert_pem": certificate},
        {"tls_client_key_pem": key},
        {"tls_client_cert_pem": certificate, "tls_client_key_pem": other_key},
        {"tls_client_cert_pem": certificate, "tls_client_key_pem": "nonsense"},
    ]
    for delivery in refused:
        body = describe_subscription(space.application_id, "https://example.com/", TYPE, delivery=delivery)
        reply = await stack.api.call("POST", "/subscriptions", body, token=space.secret)

        assert (422, "Validation") == reply.problem, delivery


async def test_an_owner_is_told_of_a_certificate_that_expires(stack: Stack, tmp_path: Path) -> None:
    """The owner is notified once for all connections; an endpoint with a good certificate causes no notice."""
    authority = Authority(tmp_path)
    space = await stack.api.make_space(TYPE)
    delivery = {"tls_ca_pem": authority.ca_file.read_text()}
    closing = Status(200, headers=(("Connection", "close"),))
    async with (
        Receiver(tls=authority.server_context(expires_in=SOON), name="localhost") as expiring,
        Receiver(tls=authority.server_context(), name="localhost") as good,
        Receiver() as told,
    ):
        expiring.script("/a", closing)
        good.script("/b", closing)
        created = await stack.api.subscribe(space, expiring.url("/a"), TYPE, delivery=delivery)
        await stack.api.subscribe(space, good.url("/b"), TYPE, delivery=delivery)
        await stack.api.subscribe(space, told.url("/told"), EXPIRING, labels={"hookline": "operational"})
        sent = 0

        def have_all() -> bool:
            return sent == len(expiring.requests("/a")) == len(good.requests("/b"))

        for sent in range(1, 4):  # noqa: B007 - read above
            await stack.api.send(space, TYPE)
            await eventually(have_all)
        (warning,) = await eventually(lambda: told.requests("/told"))
        payload = json.loads(warning.body)

        assert 3 == len({request.connection for request in expiring.requests("/a")})
        assert EXPIRING == warning.header("X-Event-Type")
        assert created["subscription_id"] == payload["subscription_id"]
        left_s = payload["certificate_expires_at_us"] / 1_000_000 - time.time()
        assert abs(left_s - SOON.total_seconds()) < 120
