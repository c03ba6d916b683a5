"""Which of PostgreSQL's refusals are about one row, so that it can be left out, which about how much is written at
once, and which are neither."""

from psycopg import DataError, IntegrityError, errors


class PositionRefusedError(Exception):
    """PostgreSQL takes no position, for a constraint or a trigger of the operator's: nothing can be written."""


class RowsLeftOutError(Exception):
    """Rows that were inserted are not there, and PostgreSQL said nothing: a trigger or a rule of the operator's."""


# A value no column takes, a constraint, a row or index entry too large, a trigger that raises; and what the client
# cannot encode. A fault of the schema, the rights or the server concerns every row: not among them.
REFUSALS = (
    DataError,
    IntegrityError,
    errors.ProgramLimitExceeded,
    errors.RaiseException,
    RowsLeftOutError,
    UnicodeError,
    OverflowError,
)

# A time-out of ours or of the operator's, also one that ends whole sessions; temporary files, memory, locks, room on a
# disk. A server that is in trouble says the same: less at once does no harm then.
AMOUNTS = (
    errors.QueryCanceled,
    errors.TransactionTimeout,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.ConfigurationLimitExceeded,
    errors.OutOfMemory,
    errors.DiskFull,
)


def is_about_the_amount(error: Exception) -> bool:
    """Might the same rows be written in several transactions although one with all of them was given up?"""
    return isinstance(error, AMOUNTS)


def is_about_a_row(error: Exception) -> bool:
    """May another row be written although this one was refused?"""
    if isinstance(error, errors.CheckViolation):
        # without a name: routed to the default partition at the moment when its day got a partition; that passes
        return error.diag.constraint_name is not None
    return isinstance(error, REFUSALS)


def describe_refusal(error: Exception) -> str:
    """One line for the dead letter."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:500]}"
