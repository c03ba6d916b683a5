"""Names that wait to be looked up: owners take turns, and so do the zones of an owner."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence

Found = asyncio.Future[Sequence[str]]


class Waiting:
    """A name whose look-up has not begun. It may wait in the turns of several owners, and begins with the first."""

    __slots__ = ("future", "has_begun", "name", "owners")

    def __init__(self, future: Found, name: str) -> None:
        self.future = future
        self.name = name
        self.owners: set[Hashable] = set()
        self.has_begun = False


class LookupTurns:
    """Waiting names by owner and zone, the next in turn first."""

    def __init__(self) -> None:
        self._owners: OrderedDict[Hashable, OrderedDict[str, deque[Waiting]]] = OrderedDict()

    def add(self, owner: Hashable, zone: str, names: Sequence[Waiting]) -> None:
        """Add names of one zone behind the waiting names of the same owner and zone."""
        self._owners.setdefault(owner, OrderedDict()).setdefault(zone, deque()).extend(names)

    def find(
        self, owner_has_room: Callable[[Hashable], bool], zone_has_room: Callable[[str], bool]
    ) -> tuple[Hashable, str] | None:
        """Find the next owner and zone with room; None: there is none.

        The search is short: no more owners and zones can be full than there are shares.
        """
        for owner, zones in self._owners.items():
            if owner_has_room(owner):
                zone = next((zone for zone in zones if zone_has_room(zone)), None)
                if zone is not None:
                    return owner, zone
        return None

    def take(self, owner: Hashable, zone: str) -> Waiting:
        """Take the first name. Owner and zone go behind the others."""
        zones = self._owners[owner]
        waiting = zones[zone].popleft()
        zones.move_to_end(zone)
        self._owners.move_to_end(owner)
        self._drop_empty(owner, zone)
        return waiting

    def move(self, zone: str, other: "LookupTurns") -> None:
        """Move all names of a zone to the turns of another standing."""
        for owner in [owner for owner, zones in self._owners.items() if zone in zones]:
            other.add(owner, zone, self._owners[owner].pop(zone))
            self._drop_empty(owner, zone)

    def _drop_empty(self, owner: Hashable, zone: str) -> None:
        zones = self._owners[owner]
        if zone in zones and not zones[zone]:
            del zones[zone]
        if not zones:
            del self._owners[owner]
