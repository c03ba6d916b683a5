"""The long form of tests/integration/process/test_endings.py."""

from tests.integration.process.test_endings import refuse_starts

STARTS = 100


async def test_a_hundred_refused_starts_end(kafka: str, postgres: str, migrated_template: str) -> None:
    """Each with its reason and exit code 2."""
    ended = await refuse_starts(kafka, postgres, migrated_template, starts=STARTS)

    assert [(2, True)] * STARTS == ended
