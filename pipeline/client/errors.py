"""Why an operation did not do what it was asked."""

import math
from typing import Any


class ApiError(Exception):
    """Any of these; the message says what was asked and what came."""


class UnreachableError(ApiError):
    """The server gave no answer, or none of the API's form: whether the operation was carried out is unknown."""


class AddressError(UnreachableError):
    """The API's address is none."""


class ProblemError(ApiError):
    """The API answered with a problem: go by `id`. `retry_after_s`: None where it does not say."""

    def __init__(self, asked: str, status: int, shown: dict[str, Any], *, retry_after_s: float | None) -> None:
        self.id = str(shown.get("id", ""))
        self.status = status
        self.detail = str(shown.get("detail", ""))
        self.validation: dict[str, Any] | None = shown.get("validation")
        self.retry_after_s = retry_after_s
        super().__init__(f"{asked} was answered {self.status} {self.id}: {self.detail}")


def read_retry_after(value: str | None) -> float | None:
    """Seconds; None for what is no number of them."""
    try:
        found = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None
