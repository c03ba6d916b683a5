"""Checks that this gateway can work with the database: its migrations, and the keys that its secrets are sealed with.

A gateway also starts while PostgreSQL is away. A problem that would have refused the start then ends the process as
soon as it is found.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from pipeline.config import DatabaseConfig
from pipeline.core.signing.sealing import Sealed, Sealer, SealingError
from pipeline.postgres import migrations
from pipeline.postgres.control.sealed_secrets import list_key_uses
from pipeline.postgres.pool import DatabaseAwayError, DatabaseNotReady, DatabaseUnavailable, Pool
from pipeline.start_error import StartError

AGAIN_AFTER_S = 1.0
AWAY = (DatabaseAwayError, *DatabaseUnavailable, *DatabaseNotReady)

log = structlog.get_logger()


async def begin_to_verify(config: DatabaseConfig, pool: Pool, sealer: Sealer) -> Coroutine[Any, Any, None] | None:
    """Verify now. If PostgreSQL is away, returns a coroutine that verifies when it is back, and raises what it finds.

    Raises `StartError`.
    """
    try:
        await _verify(config, pool, sealer)
    except AWAY as error:
        log.error("starting_without_database", reason=str(error))
        return _verify_later(config, pool, sealer)
    return None


async def _verify_later(config: DatabaseConfig, pool: Pool, sealer: Sealer) -> None:
    while True:
        await asyncio.sleep(AGAIN_AFTER_S)
        try:
            await _verify(config, pool, sealer)
        except AWAY:
            continue
        log.info("database_verified")
        return


async def _verify(config: DatabaseConfig, pool: Pool, sealer: Sealer) -> None:
    await asyncio.to_thread(migrations.verify, config.write_url.get_secret_value())
    await verify_keys(pool, sealer)


async def verify_keys(pool: Pool, sealer: Sealer) -> None:
    """Raise `StartError` when secrets are sealed with a key that is not here: they could not be shown or used."""
    for use in await list_key_uses(pool):
        try:
            sealer.unseal(Sealed(key_id=use.key_id, sealed=use.sealed), context=use.context)
        except SealingError as error:
            raise StartError(
                f"{error}; {use.secrets} secrets need it. Give it in HOOKLINE_SEALING_KEY_FILE or HOOKLINE_SEALING_KEYS"
            ) from error
