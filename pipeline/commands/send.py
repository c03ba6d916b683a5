"""`hookline send`: events from the command line."""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.finite import FiniteRange
from pipeline.commands.sending.options import sender_options

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pipeline.commands.sending.pace import Outcome

DEFAULT_PAYLOAD = '{"hello":"world"}'
EXIT_FAILED = 1


@click.command()
@click.argument("payload", default=DEFAULT_PAYLOAD)
@click.option("--type", "event_type", metavar="TYPE", help="Event type, like billing.invoice.paid.")
@click.option(
    "--content-type",
    default="application/json",
    show_default=True,
    help="Content type of the payload; or text/plain, or application/octet-stream+base64 for any bytes.",
)
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="How many to send.")
@click.option("--rate", type=FiniteRange(0, min_open=True), metavar="N", help="At most so many a second.")
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@click.option("--kafka", "is_kafka", is_flag=True, help="Write straight into Kafka instead of calling the API.")
@sender_options
def send(
    payload: str,
    event_type: str | None,
    labels: dict[str, str],
    content_type: str,
    count: int,
    rate: float | None,
    api: str | None,
    application_id: str | None,
    secret: str | None,
    is_json: bool,
    is_kafka: bool,
    profile: str | None,
    data_dir: Path | None,
) -> None:
    """Send events: PAYLOAD is the text itself, @FILE, or - for standard input.

    While a `hookline up` runs its demo application is used, and nothing else need be given: that of this directory or
    one above it, otherwise the only one of this user. Without one, or with the --api of another installation,
    --api, --application-id, --secret, --type and a --label are needed. One event prints its id, several a summary; the
    exit code is 1 when an event was not accepted, and nothing more is sent then.

    With --kafka events are written into the events topic (Avro, keyed by the application) of
    HOOKLINE_KAFKA_BOOTSTRAP_SERVERS, or of the running `hookline up`; no secret is needed then.

    \b
    Example:
      hookline send '{"hello":"world"}'
      hookline send --type shop.order.paid --count 1000 --rate 50 --json
      hookline send @invoice.json --api https://hooks.example.com/api/v1 \\
          --application-id 0197… --secret 4f8c… --type billing.invoice.paid --label region=eu
    """
    import asyncio

    from pipeline.commands.installation.options import read_choice
    from pipeline.commands.progress import show_progress
    from pipeline.commands.sending.destination import find_destination
    from pipeline.commands.sending.pace import send_all
    from pipeline.commands.sending.payload import format_payload, read_payload
    from pipeline.commands.sending.source import Source

    source = Source(read_choice(profile, data_dir), is_kafka=is_kafka)
    destination = find_destination(
        source.find_report,
        api=api,
        application_id=application_id,
        secret=secret,
        event_type=event_type,
        labels=labels,
        needs_api=not is_kafka,
    )
    body = read_payload(payload, sys.stdin.buffer)
    text = format_payload(body, content_type)

    def open_way() -> "AbstractAsyncContextManager[Callable[[], Awaitable[str]]]":
        if not is_kafka:
            from pipeline.commands.sending.over_http import open_http

            return open_http(destination, text, content_type)
        from pipeline.commands.sending.over_kafka import open_kafka

        return open_kafka(destination, body, content_type, source.load_settings().kafka)

    async def run() -> "Outcome":
        accepted = 0

        def note() -> None:
            nonlocal accepted
            accepted += 1
            advance(1)

        async with open_way() as send_one:
            try:
                with show_progress("sending", count) as advance:
                    return await send_all(send_one, count=count, rate_per_s=rate, on_accepted=note)
            except asyncio.CancelledError:
                click.echo(f"stopped: {accepted:,} of {count:,} events were accepted, or a few more", err=True)
                raise

    sys.exit(report(asyncio.run(run()), count, is_json=is_json))


def report(outcome: "Outcome", count: int, *, is_json: bool = False) -> int:
    """Say what came of it; the exit code."""
    if is_json:
        figures = {
            "accepted": outcome.accepted,
            "last_event_id": outcome.last_id or None,
            "seconds": round(outcome.seconds, 3),
            "error": outcome.failure,
        }
        click.echo(json.dumps(figures))
        return 0 if outcome.failure is None else EXIT_FAILED
    if count == 1 and outcome.accepted:
        click.echo(outcome.last_id)
    elif outcome.accepted:
        rate = outcome.accepted / max(outcome.seconds, 0.001)
        click.echo(f"{outcome.accepted:,} events accepted in {outcome.seconds:.2f} s ({rate:,.0f}/s)")
    if outcome.failure is None:
        return 0
    click.echo(f"hookline: {outcome.failure}", err=True)
    return EXIT_FAILED
