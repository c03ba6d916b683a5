"""Receives deliveries and accepts only those whose signature holds, with the Standard Webhooks library.

    pip install aiohttp standardwebhooks
    python examples/receiver.py --port 9000 --secret SECRET

SECRET is the subscription's, in its `whsec_…` form or as the UUID. Hookline delivers to 127.0.0.1 only when it runs
with HOOKLINE_DELIVER_ALLOW_PRIVATE_ADDRESSES=true, as `hookline up` sets it.
"""

import argparse
import base64
from collections import OrderedDict
from urllib.parse import unquote

from aiohttp import web
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

SEEN_MAX = 10_000


def make_verifier(secret: str) -> Webhook:
    """A verifier for either form of a subscription's secret."""
    return Webhook(secret if secret.startswith("whsec_") else "whsec_" + base64.b64encode(secret.encode()).decode())


def build_app(secret: str) -> web.Application:
    """An application that answers 204 to genuine deliveries on any path, and 401 to everything else."""
    verifier = make_verifier(secret)
    seen: OrderedDict[str, None] = OrderedDict()  # a real receiver keeps these ids in its database

    async def receive(request: web.Request) -> web.Response:
        # the bytes as they came: parsed and printed again they would be others
        body = await request.read()
        try:
            verifier.verify(body, dict(request.headers), json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            return web.Response(status=401, text=f"not accepted: {error}\n")
        delivery_id = request.headers["webhook-id"]
        # deliveries come at least once; the id tells a repeat
        is_repeat = delivery_id in seen
        seen[delivery_id] = None
        if len(seen) > SEEN_MAX:
            seen.popitem(last=False)
        event_type = unquote(request.headers.get("x-event-type", "?"))  # percent-encoded where it is not ASCII
        note = " (again)" if is_repeat else ""
        print(f"{event_type} {delivery_id}{note} {body.decode()}", flush=True)  # noqa: T201
        # answer quickly, work afterwards: what takes longer than the sender's time-out is sent again
        return web.Response(status=204)

    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", receive)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments and receive until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Receive and verify deliveries.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--secret", required=True, help="the subscription's secret")
    given = parser.parse_args(arguments)
    web.run_app(build_app(given.secret), host=given.host, port=given.port)


if __name__ == "__main__":
    main()
