"""A database with defaults of its own."""

import pytest

from tests.support.postgres import ODD_DEFAULTS, set_defaults


@pytest.fixture
def odd_database(database: str) -> str:
    """A database whose sessions have `ODD_DEFAULTS`."""
    set_defaults(database, ODD_DEFAULTS)
    return database
