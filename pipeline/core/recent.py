"""A bounded memory of ids: the newest N are known, older ones are forgotten in order."""

from collections import deque


class RecentIds:
    """Remembers the last `max_ids` ids that were added. 0 remembers nothing."""

    __slots__ = ("_ids", "_order", "max_ids")

    def __init__(self, max_ids: int) -> None:
        self._ids: set[object] = set()
        self._order: deque[object] = deque()
        self.max_ids = max_ids

    def __contains__(self, recent_id: object) -> bool:
        return recent_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, recent_id: object) -> bool:
        """Remember an id. False when it was known already (its age does not change)."""
        if recent_id in self._ids:
            return False
        if self.max_ids == 0:
            return True
        if len(self._order) >= self.max_ids:
            self._ids.discard(self._order.popleft())
        self._ids.add(recent_id)
        self._order.append(recent_id)
        return True

    def discard(self, recent_id: object) -> None:
        """Forget an id that was added in vain (its record was not accepted after all). Rare: costs a scan."""
        if recent_id in self._ids:
            self._ids.remove(recent_id)
            self._order.remove(recent_id)
