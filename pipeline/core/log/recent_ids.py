"""A bounded memory of ids: the newest N are known, older ones are forgotten in order."""

from collections import deque


class RecentIds:
    """Remembers the last `max_ids` ids that were added, each with a number. 0 remembers nothing."""

    __slots__ = ("_ids", "_order", "max_ids")

    def __init__(self, max_ids: int) -> None:
        self._ids: dict[object, int | None] = {}
        self._order: deque[object] = deque()
        self.max_ids = max_ids

    def __contains__(self, recent_id: object) -> bool:
        return recent_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def get(self, recent_id: object) -> int | None:
        """The number that an id was added with; None also for one that is not known."""
        return self._ids.get(recent_id)

    def add(self, recent_id: object, number: int | None = None) -> bool:
        """Remember an id. False when it was known already (neither its age nor its number changes)."""
        if recent_id in self._ids:
            return False
        if self.max_ids == 0:
            return True
        if len(self._order) >= self.max_ids:
            self._ids.pop(self._order.popleft(), None)
        self._ids[recent_id] = number
        self._order.append(recent_id)
        return True

    def discard(self, recent_id: object) -> None:
        """Forget an id that was added in vain (its record was not accepted after all). Rare: costs a scan."""
        if recent_id in self._ids:
            del self._ids[recent_id]
            self._order.remove(recent_id)
