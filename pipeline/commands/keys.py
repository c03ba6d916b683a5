"""`hookline keys`: the keys that secrets are sealed with."""

import asyncio
import base64
import json
import os
import secrets
from typing import TYPE_CHECKING

import click

from pipeline.commands.installation.options import KAFKA, POSTGRES, with_installation

if TYPE_CHECKING:
    from pipeline.config import Settings


@click.group()
def keys() -> None:
    """Make sealing keys, see which are in use, and seal everything again under a new one.

    Secrets of subscriptions and applications are sealed (AES-256-GCM) before they enter PostgreSQL or Kafka. The first
    key of HOOKLINE_SEALING_KEY_FILE (or HOOKLINE_SEALING_KEYS) seals, or the one that HOOKLINE_SEALING_SEAL_WITH names;
    all of them open.

    \b
    To change the key while everything runs, in two phases:
      spread it
      1. hookline keys new > new.key && cat /etc/hookline/sealing.key new.key > both.key
      2. give both.key to every deliver and gateway, and restart them one by one: the old key, the first, still seals
      use it, once all of them have it
      3. set HOOKLINE_SEALING_SEAL_WITH to the new key's id at the gateways, and restart them one by one
      4. hookline keys rotate, with the same settings
      5. hookline keys list shows the old key unused: take it out of the file
    In the wrong order nothing is lost: endpoints with a key that a deliver lacks wait, and /health names the key.
    """


@keys.command()
@click.option("--id", "key_id", default=None, help="Name of the key; none: made from today's date.")
def new(key_id: str | None) -> None:
    """Print a new key as a line for the key file. Keep it safe: what it seals is lost without it.

    \b
    Example:
      hookline keys new > sealing.key && chmod 600 sealing.key
    """
    from datetime import UTC, datetime

    from pipeline.core.signing.sealing import KEY_BYTES

    name = key_id or f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(3)}"
    click.echo(f"{name}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}")


@keys.command("list")
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON array.")
@with_installation()
def show(settings: "Settings", is_json: bool) -> None:
    """Show which keys are in use, by how many secrets, and whether each was given to this process.

    Exit code 2 when a key that is needed is missing or wrong.

    \b
    Example:
      HOOKLINE_SEALING_KEY_FILE=new.key hookline keys list
    """
    raise SystemExit(asyncio.run(_show(settings, is_json=is_json)))


@keys.command()
@click.option("--dry-run", is_flag=True, help="Only say how many applications would be sealed again.")
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@with_installation(KAFKA, POSTGRES)
def rotate(settings: "Settings", dry_run: bool, is_json: bool) -> None:
    """Seal every secret again that is not sealed with the first key, and publish what changed.

    May be interrupted and repeated: each application is done whole or not at all. Needs PostgreSQL and Kafka.

    \b
    Example:
      HOOKLINE_SEALING_KEY_FILE=new.key hookline keys rotate --dry-run
    """
    asyncio.run(_rotate(settings, dry_run=dry_run, is_json=is_json))


async def _show(settings: "Settings", *, is_json: bool) -> int:
    from pipeline.commands.database import open_command_pool
    from pipeline.postgres.control.sealed_secrets import list_key_uses
    from pipeline.sealing_keys import find_problem, load_sealer

    sealer = load_sealer(settings.sealing)
    async with open_command_pool(settings.database, name="keys") as pool:
        uses = await list_key_uses(pool)
    is_well = True
    rows: list[tuple[str, int, str]] = []
    for use in uses:
        problem = find_problem(sealer, use.key_id, use.sealed, use.context)
        word = "seals" if use.key_id == sealer.current_key_id else "opens"
        if problem is not None:
            word, is_well = f"MISSING: {problem}", False
        rows.append((use.key_id, use.secrets, word))
    if sealer.current_key_id not in [use.key_id for use in uses]:
        rows.append((sealer.current_key_id, 0, "seals"))
    if is_json:
        members = ("key_id", "secrets", "state")
        click.echo(json.dumps([dict(zip(members, row, strict=True)) for row in rows], indent=2))
    else:
        for key_id, count, word in rows:
            click.echo(f"{key_id:<24}  {count:>8} secrets  {word}")
    return 0 if is_well else 2


async def _rotate(settings: "Settings", *, dry_run: bool, is_json: bool) -> None:
    from pipeline.commands.progress import show_progress
    from pipeline.core.signing.sealing import NONCE_BYTES, Sealed
    from pipeline.gateway.database_verification import verify_keys
    from pipeline.gateway.parts import open_parts
    from pipeline.postgres.control.publications import list_unpublished
    from pipeline.postgres.control.sealed_secrets import list_applications_to_reseal, reseal_application
    from pipeline.postgres.control.service_tokens import count_tokens_to_reseal, reseal_tokens
    from pipeline.sealing_keys import load_sealer

    sealer = load_sealer(settings.sealing)

    def reseal(sealed: Sealed, context: str) -> Sealed:
        secret = sealer.unseal(sealed, context=context)
        return sealer.seal(secret, context=context, nonce=os.urandom(NONCE_BYTES))

    async with open_parts(settings, name="keys") as parts:
        await verify_keys(parts.pool, sealer)  # before anything is changed
        application_ids = await list_applications_to_reseal(parts.pool, sealer.current_key_id)
        figures: dict[str, object] = {"key_id": sealer.current_key_id, "applications": len(application_ids)}
        if dry_run:
            tokens = await count_tokens_to_reseal(parts.pool, sealer.current_key_id)
            if is_json:
                click.echo(json.dumps({"dry_run": True, **figures, "service_tokens": tokens}))
                return
            click.echo(
                f"{len(application_ids)} applications have secrets to be sealed again with {sealer.current_key_id}"
            )
            click.echo(f"{tokens} service tokens must be sealed again")
            return
        tokens, count = await reseal_tokens(parts.pool, sealer.current_key_id, reseal), 0
        with show_progress("sealing again", len(application_ids)) as advance:
            for application_id in application_ids:
                count += await reseal_application(parts.pool, application_id, sealer.current_key_id, reseal)
                await parts.publisher.publish_or_raise(application_id)
                advance(1)
        # sealed by an earlier run that was interrupted before it published them
        for application_id in await list_unpublished(parts.pool):
            await parts.publisher.publish_or_raise(application_id)
    if is_json:
        click.echo(json.dumps({"dry_run": False, **figures, "secrets": count, "service_tokens": tokens}))
        return
    click.echo(f"sealed {count} secrets of {len(application_ids)} applications again with {sealer.current_key_id}")
    if tokens:
        click.echo(f"sealed {tokens} service tokens again")
