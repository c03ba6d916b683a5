"""Asymmetric signatures, verified with the keys that the API publishes without a token."""

import base64
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack, run_stack
from tests.support.verification import verify_delivery

pytestmark = pytest.mark.asyncio(loop_scope="module")

TYPE = "billing.invoice.paid"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signing(kafka: str, postgres: str, migrated_template: str) -> AsyncIterator[Stack]:
    """Deliveries are signed both ways."""
    names = ("gateway", "matcher", "deliver")
    async with run_stack(kafka, postgres, migrated_template, *names, DELIVER_SIGN_ASYMMETRICALLY="true") as running:
        yield running


async def test_a_delivery_is_verified_by_its_public_key(signing: Stack) -> None:
    """Both keys verify during an overlap; the address fails without its key, for another id, and after its end."""
    space = await signing.api.make_space(TYPE)
    async with Receiver() as receiver:
        made = await signing.api.subscribe(space, receiver.url("/a"), TYPE)
        rotate = f"/subscriptions/{made['subscription_id']}/rotate_secret"
        rotated = await signing.api.call("POST", rotate, {"application_id": space.application_id, "overlap_s": 600})
        await signing.api.send(space, TYPE)
        await eventually(lambda: len(receiver.requests("/a")) == 1)
        (request,) = receiver.requests("/a")
    old = await signing.api.call("GET", made["jwks_path"], headers={})
    shown = await signing.api.call("GET", rotated.json["jwks_path"], headers={})
    signatures = request.header("webhook-signature").split(" ")
    signed = f"{request.header('webhook-id')}.{request.header('webhook-timestamp')}.".encode() + request.body

    assert shown.json == old.json
    assert ["v1", "v1", "v1a", "v1a"] == [each.partition(",")[0] for each in signatures]
    for key, signature in zip(shown.json["keys"], signatures[2:], strict=True):
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
        public.verify(base64.b64decode(signature.partition(",")[2]), signed)
    assert ("hook0", "standardwebhooks", "svix") == verify_delivery(request, rotated.json["secret"])
    await signing.api.call("POST", rotate, {"application_id": space.application_id, "overlap_s": 0})
    path = urlsplit(made["jwks_path"]).path
    other = path.replace(made["subscription_id"], space.application_id)
    for wrong in (made["jwks_path"], f"{path}?key=x", f"{other}?key=x"):
        assert (404, "NotFound") == (await signing.api.call("GET", wrong, headers={})).problem
