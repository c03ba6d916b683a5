"""`hookline doctor`: does the log say what the database says?"""

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeline.config import Settings
    from pipeline.gateway.diagnosis import Difference


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
def doctor(as_json: bool) -> None:
    """Compare the configuration in PostgreSQL with what is published of it, and print what differs.

    Reads both and changes nothing; running gateways bring the log in line with the database by themselves. Endpoints
    are compared by all that deliveries need. The exit code is 1 when something differs, otherwise 0.

    \b
    Example:
      hookline doctor --json
    """
    from pipeline.config import load_settings

    sys.exit(asyncio.run(_diagnose(load_settings(os.environ), as_json=as_json)))


async def _diagnose(settings: "Settings", *, as_json: bool) -> int:
    from dataclasses import asdict

    from pipeline.gateway.diagnosis import find_differences
    from pipeline.kafka.admin import verify_topics
    from pipeline.kafka.endpoints_view import EndpointsView
    from pipeline.kafka.routes_view import RoutesView
    from pipeline.postgres import migrations
    from pipeline.postgres.control_plane import read_identity
    from pipeline.postgres.pool import open_pool
    from pipeline.topics import declare_topics_for

    topics = declare_topics_for(settings.kafka)
    await asyncio.to_thread(verify_topics, settings.kafka, topics)
    await asyncio.to_thread(migrations.verify, settings.database.write_url.get_secret_value())
    pool = await open_pool(settings.database, settings.database.write_url, name="doctor")
    routes, endpoints = RoutesView(settings.kafka, topics.routes), EndpointsView(settings.kafka, topics.endpoints)
    try:
        await asyncio.gather(routes.start(), endpoints.start())
        identity = await read_identity(pool)
        logged = sorted({(head.control_plane_id, head.epoch) for _, head in routes.heads() if head.control_plane_id})
        differences = await find_differences(pool, routes, endpoints)
    finally:
        await asyncio.gather(routes.close(), endpoints.close())
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


def _show(differences: "list[Difference]") -> None:
    for each in differences:
        click.echo(f"{each.application_id}  {each.what:<12}  {each.name}  {each.problem}")
    if not differences:
        click.echo("nothing differs: the log says what the database says")
