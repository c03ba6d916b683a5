"""`hookline ledger`: is everything that was accepted accounted for?"""

import asyncio
import json
import sys
from typing import TYPE_CHECKING
from uuid import UUID

import click

from pipeline.commands.finite import FiniteRange
from pipeline.commands.installation.options import with_installation

if TYPE_CHECKING:
    from pipeline.config import Settings
    from pipeline.core.log.account import Account
    from pipeline.ledger.count import Result

BALANCED, UNBALANCED = 0, 1
COLUMNS = (
    ("events", "events"),
    ("matched", "matched"),
    ("waiting", "waiting"),
    ("refused", "refused"),
    ("unaccounted_events", "LOST"),
    ("deliveries", "deliveries"),
    ("delivered", "delivered"),
    ("pending", "pending"),
    ("parked", "parked"),
    ("dead", "dead"),
    ("cancelled", "cancelled"),
    ("unaccounted_deliveries", "LOST"),
)


@click.command()
@click.option("--application", type=click.UUID, help="Show and judge only this application.")
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@click.option(
    "--wait",
    "wait_s",
    default=30.0,
    show_default=True,
    type=FiniteRange(0),
    help="Seconds to wait for the archive.",
)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(0), help="Applications shown at most.")
@with_installation()
def ledger(settings: "Settings", application: UUID | None, is_json: bool, wait_s: float, limit: int) -> None:
    """Count accepted events and the states of their deliveries, by application.

    \b
      events      = matched + waiting + refused
      deliveries  = delivered + pending + parked + dead + cancelled

    What does not add up is lost, and named. Counted from what the groups have committed, the log and the archive, while
    everything runs; first the archive must reach the end that the log has now. An event matches any number of
    subscriptions, each of which is a delivery. Changes nothing.

    \b
    Exit codes:
      0  everything is accounted for
      1  something is not
      2  unknown: the archive is behind, or Kafka or PostgreSQL does not answer

    \b
    Example:
      hookline ledger
      hookline ledger --json --wait 120
      hookline ledger --profile shop      # of a hookline up of this name
    """
    chosen = None if application is None else str(application)
    result = asyncio.run(_count(settings, wait_s, chosen))
    accounts = {name: each for name, each in result.accounts.items() if chosen in (None, name)}
    if is_json:
        click.echo(json.dumps(_to_json(result, accounts), indent=2))
    else:
        _show(result, accounts, limit)
    sys.exit(BALANCED if all(each.is_balanced for each in accounts.values()) else UNBALANCED)


async def _count(settings: "Settings", wait_s: float, application_id: str | None) -> "Result":
    from pipeline.commands.database import require_application
    from pipeline.kafka.listening import refuse_closed
    from pipeline.ledger.count import Counter
    from pipeline.postgres import migrations
    from pipeline.postgres.archive.connection import open_long_connection
    from pipeline.topics import declare_topics_for

    await asyncio.to_thread(refuse_closed, settings.kafka)
    await asyncio.to_thread(migrations.verify, settings.database.write_url.get_secret_value())
    counter = Counter(settings.kafka, declare_topics_for(settings.kafka))
    async with await open_long_connection(settings.database) as connection:
        if application_id is not None:
            await require_application(connection, application_id)
        return await counter.count(connection, wait_s=wait_s)


def _show(result: "Result", accounts: "dict[str, Account]", limit: int) -> None:
    from pipeline.core.log.account import add_up

    total = add_up(accounts.values())
    # lost ones first, then the largest
    order = sorted(accounts, key=lambda name: (accounts[name].is_balanced, -accounts[name].events, name))
    rows = [(name, accounts[name].to_dict()) for name in order[:limit]]
    rows.append((f"all {len(accounts)} applications", total.to_dict()))
    widths = [max(len(title), len(f"{rows[-1][1][name]}")) for name, title in COLUMNS]
    click.echo(
        "  ".join([f"{'application':<36}", *(f"{title:>{w}}" for (_, title), w in zip(COLUMNS, widths, strict=True))])
    )
    for name, counts in rows:
        cells = (f"{counts[column]:>{width}}" for (column, _), width in zip(COLUMNS, widths, strict=True))
        click.echo("  ".join([f"{name:<36}", *cells]))
    click.echo(_describe(result))
    for missing in (each for each in result.missing if each.application_id in accounts):
        place = (
            ""
            if missing.event_place is None
            else f", its event at partition {missing.event_place[0]}, offset {missing.event_place[1]}"
        )
        click.echo(f"LOST  {missing.kind} {missing.id} of application {missing.application_id}{place}")
    if total.is_balanced:
        click.echo("everything is accounted for")
    else:
        click.echo(
            f"NOT accounted for: {total.unaccounted_events} events, {total.unaccounted_deliveries} deliveries "
            f"(the first {len(result.missing)} of all are listed); see the runbook DeliveriesUnaccounted"
        )


def _describe(result: "Result") -> str:
    from pipeline.core.events.moments import show_moment

    days = f"{result.days[0]} to {result.days[-1]}" if result.days else "none"
    unread = f", {result.gaps_unread} offsets without a row were not looked at" if result.gaps_unread else ""
    return (
        f"counted up to offset {sum(result.archived.values())} (sum over {len(result.archived)} partitions) at "
        f"{show_moment(int(result.counted_at_s * 1_000_000))}, days {days}, in {result.seconds:.1f} s; "
        f"{result.records_read} open records read{unread}"
    )


def _to_json(result: "Result", accounts: "dict[str, Account]") -> dict[str, object]:
    from pipeline.core.log.account import add_up

    total = add_up(accounts.values())
    return {
        "is_balanced": total.is_balanced,
        "counted_at": result.counted_at_s,
        "seconds": round(result.seconds, 3),
        "counted_up_to": {
            f"{topic}/{partition}": offset for (topic, partition), offset in sorted(result.archived.items())
        },
        "days": [str(day) for day in result.days],
        "open_records_read": result.records_read,
        "offsets_not_looked_at": result.gaps_unread,
        "total": total.to_dict(),
        "applications": {name: account.to_dict() for name, account in sorted(accounts.items())},
        "missing": [
            {
                "kind": each.kind,
                "application_id": each.application_id,
                "id": each.id,
                "event_partition": None if each.event_place is None else each.event_place[0],
                "event_offset": None if each.event_place is None else each.event_place[1],
            }
            for each in result.missing
            if each.application_id in accounts
        ],
    }
