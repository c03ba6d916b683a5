"""`GET /subscriptions/{subscription_id}/jwks.json`: the keys that its deliveries can be verified with."""

import hmac
from typing import TypedDict

from aiohttp import web

from pipeline.core.signing.asymmetric import JsonWebKey, describe_key
from pipeline.gateway.answers import answer_json
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.control.subscriptions import derive_address_key, unseal_secret
from pipeline.gateway.operations import Operation, Parameter
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import take, take_path_id
from pipeline.postgres.control.subscriptions import find_subscription

KEY = Parameter(
    name="key", schema={"type": "string"}, is_required=True, meaning="As in the `jwks_path` of the subscription."
)


class JsonWebKeySet(TypedDict):
    """RFC 7517 §5: the present key, and the one before it as long as it signs as well."""

    keys: list[JsonWebKey]


def list_routes() -> list[Operation]:
    path = "/subscriptions/{subscription_id}/jwks.json"
    return [Operation("GET", path, show_keys, query=(KEY,), answer=JsonWebKeySet, is_public=True)]


async def show_keys(request: web.Request) -> web.Response:
    """A subscription's public keys, for receivers: no token is asked for."""
    gateway = request.app[GATEWAY]
    subscription_id, key = take_path_id(request, "subscription_id"), str(take(request, "key"))
    subscription = await find_subscription(gateway.fresh_pool, subscription_id)
    if subscription is None:
        raise Problem("NotFound")
    now = gateway.clock.now()
    valid = [each for each in subscription.secrets if each.valid_until is None or each.valid_until > now]
    secrets = [unseal_secret(subscription, each, gateway.sealer) for each in valid]
    # an address that a receiver has stays until the secret it came with is over
    addresses = [derive_address_key(secret.decode()) for secret in secrets]
    if not any(hmac.compare_digest(key.encode(), address.encode()) for address in addresses):
        raise Problem("NotFound")
    answer: JsonWebKeySet = {"keys": [describe_key(secret) for secret in secrets]}
    return answer_json(answer)
