"""`hookline listen`: the command."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.installation.options import choice_options, find_installation, read_choice, say

if TYPE_CHECKING:
    from pipeline.commands.installation.finding import Choice
    from pipeline.commands.up.report import Report
    from pipeline.config import Settings

DEFAULT_PORT = 8090


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port to listen on; 0: any free one.",
)
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="SECRET",
    help="The subscription's secret, as a UUID or whsec_…; may be repeated while it is being rotated.",
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with such secrets, one a line. Read again when it changes; not seen in the list of processes.",
)
@click.option(
    "--status", type=click.IntRange(200, 599), default=200, show_default=True, help="HTTP status to answer with."
)
@click.option(
    "--forward-to",
    metavar="URL",
    help="Pass each delivery on to this address, and its answer back, instead of --status.",
)
@click.option("--body", "shows_body", is_flag=True, help="Show the bodies, too.")
@click.option("--json", "is_json", is_flag=True, help="Show each delivery as one JSON object.")
@choice_options("Verify with the secrets of")
def listen(
    host: str,
    port: int,
    secrets: tuple[str, ...],
    secret_file: Path | None,
    status: int,
    forward_to: str | None,
    shows_body: bool,
    is_json: bool,
    profile: str | None,
    data_dir: Path | None,
) -> None:
    """Receive deliveries, show each as one line, and verify their signatures.

    Any method and path will do. A line has the time, the event's type and id, the delivery's id, the size of the body,
    and whether the signatures hold: Hook0's (X-Hook0-Signature) and that of Standard Webhooks (webhook-*). Without
    --secret or --secret-file they are verified with the secrets of the demo application's subscriptions, of the
    `hookline up` that runs; new ones included. Without one they are not looked at. Every request is answered with
    --status, also those that do not verify: what arrives is to be seen. Ctrl-C or SIGTERM stops it. With --forward-to
    they go on to a server of yours as they came, signatures included; a line then ends with its answer.

    Hookline delivers to addresses like 127.0.0.1 only with HOOKLINE_DELIVER_ALLOW_PRIVATE_ADDRESSES=true, as
    `hookline up` sets it.

    \b
    Example:
      hookline listen                   # verifies subscriptions of the hookline up that runs
      hookline listen --port 9000 --secret 4f8c1c3e-6f3b-4a57-9b1c-0d6d3d0a8f11 --body
      hookline listen --status 503      # to see how failed deliveries are tried again
      hookline listen --forward-to http://127.0.0.1:3000/webhooks
    """
    from pipeline import process
    from pipeline.commands.listen.options import ListenOptions
    from pipeline.commands.listen.server import receive
    from pipeline.config import load_settings
    from pipeline.ending import leave

    settings = load_settings(os.environ)
    if settings.process.run_dir is None:
        # the log's only reader sits at this terminal and wants to see deliveries
        quiet = settings.process.model_copy(update={"log_level": "warning"})
        settings = settings.model_copy(update={"process": quiet})
    options = ListenOptions(
        host=host,
        port=port,
        secrets=secrets,
        secret_file=secret_file,
        status=status,
        forward_to=forward_to,
        shows_body=shows_body,
        is_json=is_json,
        source=None if secrets or secret_file is not None else _find_source(settings, read_choice(profile, data_dir)),
    )
    leave(process.run("listen", settings, lambda own: receive(own, options)))


def _find_source(settings: "Settings", choice: "Choice") -> "Report | None":
    """The demo whose subscriptions' secrets verify. One that is not named is a help: without it this goes on."""
    from pipeline.commands.installation.options import say_found
    from pipeline.start_error import StartError

    if settings.process.run_dir is not None:  # started by `hookline up`
        return None
    try:
        found = find_installation(choice)
    except StartError as error:
        if choice.is_made:
            raise
        say(f"not verified without --secret, --profile or --data-dir: {error}")
        return None
    if found is None:
        return None
    say_found(found)
    return found.running.report if found.running.report.application_id else None
