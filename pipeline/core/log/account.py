"""The books of one application: accepted events and their deliveries' states. Pure.

Both equations hold at any moment, or something was lost:

    events      = matched + refused + waiting
    deliveries  = delivered + pending + parked + dead + cancelled
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(slots=True, kw_only=True)
class Account:
    """Counts. `events`: acknowledged by the log; `deliveries`: matched by them. Added up while counting."""

    events: int = 0
    matched: int = 0
    refused: int = 0  # dead letters of events
    waiting: int = 0  # not yet matched
    deliveries: int = 0
    delivered: int = 0
    pending: int = 0  # in the log: a first attempt, or a retry with a time
    parked: int = 0  # in the log: waits for capacity
    dead: int = 0
    cancelled: int = 0

    @property
    def unaccounted_events(self) -> int:
        """Accepted, and nowhere."""
        return self.events - self.matched - self.refused - self.waiting

    @property
    def unaccounted_deliveries(self) -> int:
        """Owed, and nowhere: neither ended in the archive nor open in the log."""
        return self.deliveries - self.delivered - self.pending - self.parked - self.dead - self.cancelled

    @property
    def is_balanced(self) -> bool:
        """Is everything accounted for?"""
        return not self.unaccounted_events and not self.unaccounted_deliveries

    @property
    def is_closed(self) -> bool:
        """Has everything ended, so that nothing but a replay or a redrive can change these counts?"""
        return self.is_balanced and not self.waiting and not self.pending and not self.parked

    def add(self, other: "Account") -> None:
        """Add the counts of `other`."""
        for field in fields(Account):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def to_dict(self) -> dict[str, int]:
        """All counts and both remainders, by name."""
        counts = {field.name: getattr(self, field.name) for field in fields(Account)}
        return counts | {
            "unaccounted_events": self.unaccounted_events,
            "unaccounted_deliveries": self.unaccounted_deliveries,
        }


def add_up(accounts: Iterable[Account]) -> Account:
    """The sum of `accounts`."""
    total = Account()
    for account in accounts:
        total.add(account)
    return total
