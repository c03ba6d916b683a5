"""`hookline dead`: dead letters, for the operator of an installation."""

import asyncio
import json
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.installation.options import KAFKA, POSTGRES, with_installation

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.config import Settings
    from pipeline.gateway.parts import GatewayParts
    from pipeline.gateway.redriving import Redriven
    from pipeline.postgres.archive.dead_letters import ArchivedLetter, LetterFilter
    from pipeline.postgres.pool import Pool

LEFT_OUT_SHOWN_MAX = 20
PAGE_LETTERS = 10_000  # about 10 MB


@click.group()
def dead() -> None:
    """List, show and redrive dead letters: deliveries that were given up, records that could not be read.

    Letters are kept as long as the archive keeps its days. Redriving sends a letter's record back to where it died,
    with its schedule beginning anew; deliveries keep their ids, so that receivers recognise a repeat.

    \b
    Example:
      hookline dead list --reason exhausted
      hookline dead redrive --subscription 0190f1a2-0000-7000-8000-000000000002 --dry-run
    """


def _with_filter(command: "Callable[..., Any]") -> "Callable[..., Any]":
    options = [
        click.option("--application", type=click.UUID, help="Only of this application."),
        click.option("--subscription", type=click.UUID, help="Only of this subscription."),
        click.option("--event", type=click.UUID, help="Only of this event."),
        click.option("--reason", help="Only with this reason: exhausted, gone, undecodable, unknown_event_type ..."),
        click.option("--since", help="Only those that died at or after this time (RFC 3339)."),
        click.option("--until", help="Only those that died at or before this time (RFC 3339)."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@dead.command("list")
@_with_filter
@click.option("--all", "with_redriven", is_flag=True, help="Also those that were sent again already.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="Letters at most.")
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@with_installation()
def list_(settings: "Settings", limit: int, is_json: bool, **options: Any) -> None:
    """List letters, oldest first, and count them by reason.

    \b
    Example:
      hookline dead list --since 2026-11-24T00:00:00Z --limit 10
    """
    asyncio.run(_list(settings, _read_filter(options), limit, is_json=is_json))


@dead.command()
@click.argument("dead_id", type=click.UUID)
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@with_installation()
def show(settings: "Settings", dead_id: object, is_json: bool) -> None:
    """Show one letter, with the record that died.

    \b
    Example:
      hookline dead show 6f1c1c3e-6f3b-5a57-9b1c-0d6d3d0a8f11
    """
    asyncio.run(_show(settings, str(dead_id), is_json=is_json))


@dead.command()
@click.argument("dead_ids", nargs=-1, type=click.UUID)
@_with_filter
@click.option("--everything", is_flag=True, help="Send all letters again; required when no filter is given.")
@click.option("--dry-run", is_flag=True, help="Only count, by reason.")
@click.option("--limit", type=click.IntRange(1), help="Letters at most.")
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@with_installation(KAFKA, POSTGRES)
def redrive(
    settings: "Settings",
    dead_ids: tuple[object, ...],
    everything: bool,
    dry_run: bool,
    limit: int | None,
    is_json: bool,
    **options: Any,
) -> None:
    """Send letters again, by id or by filter. Those that were sent again already are left out.

    May be interrupted and repeated: it goes on where it was. Needs PostgreSQL and Kafka. The exit code is 1 when
    letters are named and none of them can be sent.

    \b
    Example:
      hookline dead redrive --reason exhausted --since 2026-11-24T00:00:00Z --dry-run
      hookline dead redrive --reason exhausted --since 2026-11-24T00:00:00Z
    """
    if not dead_ids and not any(options.values()) and not everything:
        raise click.UsageError("name letters, give a filter, or say --everything; --dry-run shows what it would be")
    ids = tuple(map(str, dead_ids)) if dead_ids else None
    asyncio.run(_redrive(settings, _read_filter(options, ids), dry_run=dry_run, limit=limit, is_json=is_json))


def _read_filter(options: dict[str, Any], dead_ids: tuple[str, ...] | None = None) -> "LetterFilter":
    from pipeline.core.events.moments import parse_moment
    from pipeline.postgres.archive.dead_letters import LetterFilter

    def read_time(name: str) -> int | None:
        try:
            return parse_moment(options[name]) if options[name] is not None else None
        except ValueError as error:
            hint = f"{options[name]!r} is no time as in RFC 3339: {error}"
            raise click.BadParameter(hint, param_hint=f"--{name}") from None

    ids = {
        name: str(options[name]) if options[name] is not None else None
        for name in ("application", "subscription", "event")
    }
    return LetterFilter(
        application_id=ids["application"],
        subscription_id=ids["subscription"],
        event_id=ids["event"],
        reason=options["reason"],
        died_min_us=read_time("since"),
        died_max_us=read_time("until"),
        dead_ids=dead_ids,
        with_redriven=options.get("with_redriven", False),
    )


async def _list(settings: "Settings", wanted: "LetterFilter", limit: int, *, is_json: bool) -> None:
    from pipeline.commands.database import open_command_pool
    from pipeline.postgres.archive.dead_letters import count_letters, list_letters

    async with open_command_pool(settings.database, name="dead") as pool:
        counts = await count_letters(pool, wanted)
        letters = await list_letters(pool, wanted, limit=limit)
    if is_json:
        from pipeline.gateway.dead_letters import show_letter

        found = {"total": sum(counts.values()), "by_reason": counts, "letters": [show_letter(each) for each in letters]}
        click.echo(json.dumps(found, indent=2))
        return
    for letter in letters:
        click.echo(_describe(letter))
    total = sum(counts.values())
    if not total:
        click.echo(f"no dead letters{_doubt(wanted.reason)}")
        return
    if len(letters) < total:
        click.echo(f"... and {total - len(letters)} more")
    click.echo(_describe_counts(counts))


async def _show(settings: "Settings", dead_id: str, *, is_json: bool) -> None:
    from pipeline.commands.database import open_command_pool
    from pipeline.core.events.text import make_printable
    from pipeline.postgres.archive.dead_letters import LetterFilter, list_letters, read_contents

    async with open_command_pool(settings.database, name="dead") as pool:
        letters = await list_letters(pool, LetterFilter(dead_ids=(dead_id,), with_redriven=True), limit=1)
        contents = await read_contents(pool, [dead_id])
    if not letters:
        raise click.ClickException(f"there is no dead letter {dead_id}; `hookline dead list` shows what there is")
    (letter,), content = letters, contents[dead_id]
    if is_json:
        from pipeline.gateway.dead_letters import show_letter

        record = {"key": repr(content.source_key), "record": _describe_record(content.source_value)}
        click.echo(json.dumps({**show_letter(letter), **record}, indent=2))
        return
    click.echo(_describe(letter))
    for name in ("detail", "application_id", "subscription_id", "delivery_id", "event_id"):
        click.echo(f"  {name:<16} {make_printable(getattr(letter, name) or '-')}")
    click.echo(f"  {'source':<16} {letter.source_topic} [{letter.source_partition}] @ {letter.source_offset}")
    click.echo(f"  {'key':<16} {content.source_key!r}")
    click.echo(f"  {'record':<16} {_describe_record(content.source_value)}")


async def _redrive(
    settings: "Settings", wanted: "LetterFilter", *, dry_run: bool, limit: int | None, is_json: bool
) -> None:
    from pipeline.gateway.parts import open_parts
    from pipeline.postgres.archive.dead_letters import count_letters, redrive_alone
    from pipeline.start_error import StartError

    async with open_parts(settings, name="dead") as parts:
        counts = await count_letters(parts.pool, wanted)
        total = min(sum(counts.values()), limit or sum(counts.values()))
        left_out = await _find_left_out(parts.pool, wanted)
        sent = 0
        if dry_run and total and not is_json:
            click.echo(f"would send {total} dead letters again ({_describe_counts(counts)})")
        if not dry_run and total:
            async with redrive_alone(parts.pool) as is_alone:
                if not is_alone:  # each letter would be sent by both
                    raise StartError("another `hookline dead redrive` is at work: run it again when that has ended")
                result = await _send_again(settings, parts, wanted, total=total, limit=limit)
            sent, left_out = result.redriven, left_out | result.skipped
            if not is_json:
                click.echo(f"sent {sent} dead letters again")
    if is_json:
        figures = {"dry_run": dry_run, "chosen": total, "by_reason": counts, "sent": sent, "left_out": left_out}
        click.echo(json.dumps(figures, indent=2))
    else:
        _show_left_out(wanted, left_out, total=total)
    if not total and left_out:
        sys.exit(1)


def _show_left_out(wanted: "LetterFilter", left_out: dict[str, str], *, total: int) -> None:
    for dead_id, why in islice(left_out.items(), LEFT_OUT_SHOWN_MAX):
        click.echo(f"left out {dead_id}: {why}")
    if len(left_out) > LEFT_OUT_SHOWN_MAX:
        click.echo(f"... and {len(left_out) - LEFT_OUT_SHOWN_MAX} more; `hookline dead list` has them still")
    if not total and not left_out:
        click.echo(f"no dead letters{_doubt(wanted.reason)}")


async def _send_again(
    settings: "Settings", parts: "GatewayParts", wanted: "LetterFilter", *, total: int, limit: int | None
) -> "Redriven":
    """Send, and show the progress."""
    from pipeline.commands.progress import show_progress
    from pipeline.gateway.producer_reading import ProducerReading
    from pipeline.gateway.redriving import redrive as send_again
    from pipeline.gateway.schema_registry import open_registry

    done = 0

    def note(count: int) -> None:
        nonlocal done
        done += count
        advance(count)

    reading = ProducerReading(open_registry(settings.gateway), settings.kafka)
    try:
        with show_progress("redriving", total) as advance:
            result = await send_again(
                parts.pool,
                parts.producer,
                parts.topics,
                wanted,
                reading=reading,
                limit=limit,
                page_letters=PAGE_LETTERS,
                progress=note,
            )
    except BaseException:
        click.echo(f"stopped after {done} of {total} dead letters; run it again for the others", err=True)
        raise
    return result


async def _find_left_out(pool: "Pool", wanted: "LetterFilter") -> dict[str, str]:
    """Find letters that were named and will not be sent, with the reason."""
    from pipeline.core.events.moments import show_datetime
    from pipeline.postgres.archive.dead_letters import LetterFilter, list_letters

    if wanted.dead_ids is None:
        return {}
    named = LetterFilter(dead_ids=wanted.dead_ids, with_redriven=True)
    found = {each.dead_id: each for each in await list_letters(pool, named, limit=len(wanted.dead_ids))}
    chosen = await list_letters(pool, wanted, limit=len(wanted.dead_ids))
    missing = "there is no such letter; `hookline dead list` shows what there is"
    reasons = dict.fromkeys(wanted.dead_ids, missing)
    for dead_id, letter in found.items():
        at = letter.redriven_at
        reasons[dead_id] = "the filter leaves it out" if at is None else f"sent again already ({show_datetime(at)})"
    for letter in chosen:
        reasons.pop(letter.dead_id, None)
    return reasons


def _describe(letter: "ArchivedLetter") -> str:
    from pipeline.core.events.moments import show_datetime, show_moment
    from pipeline.core.events.text import make_printable

    redriven = f"  (sent again {show_datetime(letter.redriven_at)})" if letter.redriven_at is not None else ""
    detail = make_printable(letter.detail)
    return f"{letter.dead_id}  {show_moment(letter.died_at_us)}  {letter.reason:<20}  {detail}{redriven}"


def _describe_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())


def _doubt(reason: str | None) -> str:
    """A mistyped reason finds nothing; a sink of one's own may have others than Hookline's."""
    from pipeline.metrics import DEAD_REASONS

    if reason is None or reason in DEAD_REASONS:
        return ""
    return f" with the reason {reason!r}; those of Hookline are {', '.join(DEAD_REASONS)}"


def _describe_record(value: bytes | None) -> str:
    from pipeline.core.events.records import from_bytes
    from schemas import SchemaError

    if value is None:
        return "none"
    try:
        return str(from_bytes(value))
    except SchemaError:
        return repr(value[:2000]) + ("..." if len(value) > 2000 else "")
