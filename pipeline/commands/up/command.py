"""`hookline up`: the command."""

import os
import sys
from pathlib import Path

import click

COUNT = click.IntRange(1, 32)


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where everything is kept; the next start goes on with it.  [default: .hookline]",
)
@click.option(
    "--profile",
    metavar="NAME",
    help="The name by which other commands find it; without --data-dir its data is in ~/.local/share/hookline/NAME.  "
    "[default: the name of the working directory]",
)
@click.option("--unlisted", is_flag=True, help="Commands find it by --data-dir or in its directory alone.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="Port of the HTTP API; 0: any free one. Default: 8080 or any free one; with --json any free one.",
)
@click.option("--json", "is_json", is_flag=True, help="For scripts: one JSON line on standard output when all runs.")
@click.option("--no-demo", is_flag=True, help="Make no demo application and start no receiver.")
@click.option("--gateway", type=COUNT, default=1, show_default=True, metavar="N", help="How many gateways.")
@click.option("--matcher", type=COUNT, default=1, show_default=True, metavar="N", help="How many matchers.")
@click.option("--deliver", type=COUNT, default=1, show_default=True, metavar="N", help="How many deliver processes.")
@click.option("--archive", type=COUNT, default=1, show_default=True, metavar="N", help="How many archive processes.")
def up(
    data_dir: Path | None,
    profile: str | None,
    unlisted: bool,
    port: int | None,
    is_json: bool,
    no_demo: bool,
    gateway: int,
    matcher: int,
    deliver: int,
    archive: int,
) -> None:
    """Start everything on this machine, with a demo application, and keep it running.

    Starts Apache Kafka and PostgreSQL (downloaded once, for trying and testing), unless
    HOOKLINE_KAFKA_BOOTSTRAP_SERVERS and HOOKLINE_DATABASE_WRITE_URL name real ones; creates topics and tables; starts
    gateway, matcher, deliver and archive as processes, and starts again those that die. The demo has an
    application, event types, and a subscription to a receiver that shows and verifies what arrives.

    Other commands find it while it runs (`hookline -h` says how). All HOOKLINE_ settings are passed on. Endpoints on
    this machine are allowed here. Logs are in DATA_DIR/logs, pids in DATA_DIR/run. Ctrl-C or SIGTERM stops everything
    in order; a second one at once.

    \b
    With --json the line has: api, organization_id, application_id, application_secret,
    subscription_id, subscription_secret, receiver, master_api_key, kafka, database_url,
    metrics (process to URL), pids (process to list), profile and data_dir.

    \b
    Example:
      hookline up
      hookline send '{"hello":"world"}'                      # in another terminal
      hookline ledger                                        # likewise
      hookline up --profile shop                             # a second one; hookline ledger --profile shop
      hookline up --json --no-demo --port 9000 --deliver 2   # for a script
    """
    # before anything else is imported: --help stays quick
    from pipeline.commands.installation.options import read_choice
    from pipeline.commands.installation.place import choose_place
    from pipeline.commands.up.instance import UpOptions
    from pipeline.commands.up.running import run

    place = choose_place(read_choice(profile, data_dir), os.environ)
    options = UpOptions(
        data_dir=place.data_dir,
        profile=place.profile,
        is_listed=not unlisted,
        port=port,
        is_json=is_json,
        has_demo=not no_demo,
        counts={"gateway": gateway, "matcher": matcher, "deliver": deliver, "archive": archive},
    )
    sys.exit(run(options, os.environ))
