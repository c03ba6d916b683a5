"""Sends one event through the HTTP API with Hook0's own client, which needs nothing changed but the address.

pip install hook0-client
python examples/http_producer.py --api http://127.0.0.1:8080/api/v1 --application-id ID --secret SECRET
"""

import argparse
import json
from datetime import UTC, datetime

from hook0 import Event, Hook0Client, Hook0ClientError


def send(api: str, application_id: str, secret: str, event_type: str, payload: str, labels: dict[str, str]) -> str:
    """Send one event; its id. The client repeats what may be repeated, under the same id: it counts once."""
    client = Hook0Client(api, application_id, secret)
    # creates the type if the application does not have it; the very next event may be of it
    client.upsert_event_types([event_type])
    event_id: str = client.send_event(
        Event(
            event_type=event_type,
            payload=payload,
            payload_content_type="application/json",
            labels=labels,
            occurred_at=datetime.now(UTC),
        )
    )
    return event_id


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments, send, print the event's id."""
    parser = argparse.ArgumentParser(description="Send one event through the HTTP API.")
    parser.add_argument("--api", default="http://127.0.0.1:8080/api/v1", help="address of the API")
    parser.add_argument("--application-id", required=True)
    parser.add_argument("--secret", required=True, help="a secret of the application")
    parser.add_argument("--event-type", default="shop.order.paid", help="service.resource.verb")
    parser.add_argument("--payload", default=json.dumps({"order": 42}), help="JSON")
    parser.add_argument("--label", action="append", metavar="KEY=VALUE", help="what subscriptions select by")
    given = parser.parse_args(arguments)
    labels = dict(pair.split("=", 1) for pair in given.label or ["environment=demo"])
    try:
        print(send(given.api, given.application_id, given.secret, given.event_type, given.payload, labels))  # noqa: T201
    except Hook0ClientError as error:
        raise SystemExit(f"the event was not accepted: {error}") from None


if __name__ == "__main__":
    main()
