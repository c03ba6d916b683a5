"""Which attempt of a delivery a replay is. Pure.

A replay is one more attempt of the delivery: receivers see the same `webhook-id`. Its number is behind every attempt
that was made, is waiting, or was asked for before, so that no two requests share an attempt's id.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The known state of a delivery. `last_number`: of its last attempt, 0: none was made yet."""

    last_number: int = 0
    is_retry_waiting: bool = False
    last_asked_number: int = 0  # of the last replay, 0: there was none


def number_replay(made: Made) -> int:
    """The attempt number of a replay that is asked for now."""
    # a delivery without attempts still has its first one to come
    following = max(made.last_number, 1) + (1 if made.is_retry_waiting else 0)
    return max(following, made.last_asked_number) + 1
