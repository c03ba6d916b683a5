"""How many events an application may still send today, when several gateways count. Pure; the day is handed in.

A gateway knows what all had accepted when it last asked, and what it accepted itself since. Between two times of asking
others may accept as well: a limit is exceeded by what comes within about a second, never by more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

NOTICED_PERCENT = (80, 100)


@dataclass(slots=True)
class Usage:
    """Counts of one application: `known` of all gateways, `own` not added to it yet, `noticed`: percents notified."""

    known: int = 0
    own: int = 0
    noticed: set[int] = field(default_factory=set)


class DailyQuota:
    """`limit`: events of one application on one day (UTC), unless the application has its own limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.day = date.min
        self._usages: dict[str, Usage] = {}
        self._own_limits: dict[str, int] = {}

    def set_limits(self, application_ids: Iterable[str], limits: Mapping[str, int]) -> None:
        """Set the limits of applications that have their own; all others have the default."""
        for application_id in application_ids:
            self._own_limits.pop(application_id, None)
        self._own_limits |= limits

    def find_limit(self, application_id: str) -> int:
        """How many events it may send a day."""
        return self._own_limits.get(application_id, self.limit)

    def begin_day(self, day: date) -> None:
        """Begin another day with empty counts. Counts that were not added up yet are dropped."""
        if day > self.day:
            self.day = day
            self._usages.clear()
            self._own_limits.clear()

    def is_known(self, application_id: str) -> bool:
        return application_id in self._usages

    def find_room(self, application_id: str) -> int:
        """How many more may be accepted."""
        usage = self._usages.get(application_id)
        limit = self.find_limit(application_id)
        return limit if usage is None else max(0, limit - usage.known - usage.own)

    def count(self, application_id: str, amount: int) -> None:
        """Count events that this gateway accepted."""
        self._usages.setdefault(application_id, Usage()).own += amount

    def take_own(self) -> dict[str, int]:
        """Counts to add to the total, by application. They stay in `own` until `learn` is called with the new total."""
        return {each: usage.own for each, usage in self._usages.items() if usage.own}

    def list_known(self) -> list[str]:
        return list(self._usages)

    def learn(self, totals: Mapping[str, int], added: Mapping[str, int]) -> list[tuple[str, int]]:
        """Take over the total of all gateways, with `added` of this one in it.

        Which applications have just come to 80 or 100 percent of the limit: application and percent.
        """
        noticed = []
        for application_id, total in totals.items():
            usage = self._usages.setdefault(application_id, Usage())
            usage.known = max(usage.known, total)
            usage.own -= added.get(application_id, 0)
            for percent in NOTICED_PERCENT:
                if total * 100 >= self.find_limit(application_id) * percent and percent not in usage.noticed:
                    usage.noticed.add(percent)
                    noticed.append((application_id, percent))
        return noticed
