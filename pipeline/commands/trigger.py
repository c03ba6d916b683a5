"""`hookline trigger`: a sample event of a type, which is made if the application does not have it."""

import sys
from pathlib import Path

import click

from pipeline.commands.send import report
from pipeline.commands.sending.options import sender_options


@click.command()
@click.argument("event_type", metavar="TYPE")
@sender_options
def trigger(
    event_type: str,
    labels: dict[str, str],
    api: str | None,
    application_id: str | None,
    secret: str | None,
    profile: str | None,
    data_dir: Path | None,
) -> None:
    """Send a sample event of TYPE, like billing.invoice.paid, and print its id.

    The event type is made in the application if it is not there. Subscriptions to this type with a label of the event
    get it; the demo of `hookline up` subscribes to four types, shop.order.paid among them. To send a payload of your
    own, use `hookline send`.

    \b
    Example:
      hookline trigger shop.order.paid
      hookline trigger billing.invoice.paid --api https://hooks.example.com/api/v1 \\
          --application-id 0197… --secret 4f8c… --label region=eu
    """
    import asyncio

    from pipeline.commands.installation.options import read_choice
    from pipeline.commands.sending.destination import find_destination
    from pipeline.commands.sending.over_http import open_http
    from pipeline.commands.sending.pace import Outcome, send_all
    from pipeline.commands.sending.sample import make_sample, provide_event_type
    from pipeline.commands.sending.source import Source

    destination = find_destination(
        Source(read_choice(profile, data_dir), is_kafka=False).find_report,
        api=api,
        application_id=application_id,
        secret=secret,
        event_type=event_type,
        labels=labels,
        needs_api=True,
    )

    async def run() -> Outcome:
        await provide_event_type(destination)
        async with open_http(destination, make_sample(event_type), "application/json") as send_one:
            return await send_all(send_one, count=1, rate_per_s=None, on_accepted=lambda: None)

    sys.exit(report(asyncio.run(run()), 1))
