"""Which of PostgreSQL's refusals are about one row, so that it can be left out, and which are not."""

from psycopg import DataError, IntegrityError, errors

# A value no column takes, a constraint, a row or index entry too large, a trigger that raises; and what the client
# cannot encode. A fault of the schema, the rights or the server concerns every row: not among them.
REFUSALS = (
    DataError,
    IntegrityError,
    errors.ProgramLimitExceeded,
    errors.RaiseException,
    UnicodeError,
    OverflowError,
)


def is_about_a_row(error: Exception) -> bool:
    """May another row be written although this one was refused?"""
    if isinstance(error, errors.CheckViolation):
        # without a name: routed to the default partition at the moment when its day got a partition; that passes
        return error.diag.constraint_name is not None
    return isinstance(error, REFUSALS)


def describe_refusal(error: Exception) -> str:
    """One line for the dead letter."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:500]}"
