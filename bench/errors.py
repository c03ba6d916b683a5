"""What can go wrong with a benchmark itself."""

from collections.abc import Iterator
from contextlib import contextmanager


class BenchError(Exception):
    """The run failed, so that its figures mean nothing. The message says why."""


@contextmanager
def first_failure() -> Iterator[None]:
    """Around a task group: what went wrong first, as it is."""
    try:
        yield
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
