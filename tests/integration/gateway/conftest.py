"""One running stack for the whole folder; each test has an application of its own in it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.stack import Stack, run_stack


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def stack(kafka: str, postgres: str, migrated_template: str) -> AsyncIterator[Stack]:
    """Two gateways, a matcher, the http sink and the archive."""
    names = ("gateway", "gateway", "matcher", "deliver", "archive")
    async with run_stack(kafka, postgres, migrated_template, *names) as running:
        yield running
