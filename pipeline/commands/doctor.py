"""`hookline doctor`: does the log say what the database says?"""

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import click

from pipeline.commands.installation.options import KAFKA, with_installation

if TYPE_CHECKING:
    from pipeline.config import Settings
    from pipeline.gateway.diagnosis import Difference
    from pipeline.kafka.routes_view import RoutesView

HEALED_LOOKS = 50
HEALED_POLL_S = 0.2


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.option("--heal", is_flag=True, help="Publish applications that differ again, as the database has them.")
@with_installation(KAFKA, when=lambda options: bool(options["heal"]))
def doctor(settings: "Settings", as_json: bool, heal: bool) -> None:
    """Compare the configuration in PostgreSQL with the published one, and print the differences.

    Reads both and changes nothing, unless --heal is given; running gateways bring most of the log in line with the
    database by themselves. Endpoints are compared by all that deliveries need. The exit code is 1 when something
    differs (with --heal: still differs), otherwise 0.

    \b
    Example:
      hookline doctor --json
      hookline doctor --heal
    """
    from pipeline.logs import configure_logs

    configure_logs(settings.process.log_level, settings.process.log_format)
    sys.exit(asyncio.run(_diagnose(settings, as_json=as_json, heal=heal)))


async def _diagnose(settings: "Settings", *, as_json: bool, heal: bool) -> int:
    from dataclasses import asdict

    from pipeline.gateway.diagnosis import find_differences, open_views
    from pipeline.kafka.admin import verify_topics
    from pipeline.kafka.listening import refuse_closed
    from pipeline.postgres import migrations
    from pipeline.postgres.control.control_plane import read_identity
    from pipeline.postgres.pool import open_pool
    from pipeline.topics import declare_topics_for

    topics = declare_topics_for(settings.kafka)
    await asyncio.to_thread(refuse_closed, settings.kafka)
    await asyncio.to_thread(verify_topics, settings.kafka, topics)
    await asyncio.to_thread(migrations.verify, settings.database.write_url.get_secret_value())
    pool = await open_pool(settings.database, settings.database.write_url, name="doctor")
    try:
        async with open_views(settings.kafka, topics) as (routes, endpoints):
            identity = await read_identity(pool)
            logged = sorted(
                {(head.control_plane_id, head.epoch) for _, head in routes.heads() if head.control_plane_id}
            )
            differences = await find_differences(pool, routes, endpoints)
            if heal and differences:
                await _heal(settings, sorted({each.application_id for each in differences}), routes)
                for _ in range(HEALED_LOOKS):
                    differences = await find_differences(pool, routes, endpoints)
                    if not differences:
                        break
                    await asyncio.sleep(HEALED_POLL_S)  # our view of endpoints is a moment behind
    finally:
        await pool.close()
    if as_json:
        shown = {
            "control_plane": dict(zip(("id", "epoch"), identity, strict=True)) if identity is not None else None,
            "published_by": [{"id": each[0], "epoch": each[1]} for each in logged],
            "differences": [asdict(each) for each in differences],
        }
        click.echo(json.dumps(shown, indent=2))
    else:
        _show(differences)
    return 1 if differences else 0


async def _heal(settings: "Settings", application_ids: list[str], routes: "RoutesView") -> None:
    """Publish these applications again, and wait until the view has their records."""
    from pipeline.gateway.ghosts import Ghosts
    from pipeline.gateway.parts import open_parts
    from pipeline.gateway.publishing import VIEW_WAIT_S, Publisher
    from pipeline.metrics import Metrics

    async with open_parts(settings, name="doctor") as parts:
        ghosts = Ghosts(parts.pool, parts.producer, settings.kafka, parts.topics)
        metrics = Metrics("doctor")
        publisher = Publisher(parts.pool, parts.producer, parts.topics, ghosts, metrics, routes=routes)
        for application_id in application_ids:
            version = await publisher.publish_or_raise(application_id, is_forced=True)
            if version is not None:
                await routes.wait_for(application_id, version, VIEW_WAIT_S)
            click.echo(f"{application_id}  published again", err=True)


def _show(differences: "list[Difference]") -> None:
    for each in differences:
        click.echo(f"{each.application_id}  {each.what:<12}  {each.name}  {each.problem}")
    if not differences:
        click.echo("nothing differs: the log says what the database says")
