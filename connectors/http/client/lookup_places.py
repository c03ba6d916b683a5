"""Places for look-ups: how many are taken, by standing and by owner, and how many one more owner may take.

As with requests (`pipeline.core.lanes.budget`), slow zones share a part of the places, zones of which nothing is known
yet another one, so that neither takes what proven ones need. An owner has no more than three times what is still free,
three quarters when it is alone. It begins look-ups of slow zones only while it has less than what is free, so
that its own new zones do not wait for those.
"""

from collections.abc import Hashable

from pipeline.core.lanes.budget import PLACE_SHARES, Held, Standing, share

# an owner's places for each that is free, by standing
OWNER_PARTS = (1, 3, 3)


class LookupPlaces:
    """A number of places."""

    def __init__(self, at_once_max: int) -> None:
        self._at_once_max = at_once_max
        self._caps = share(at_once_max, PLACE_SHARES)
        self._all = Held()
        self._owners: dict[Hashable, Held] = {}  # that hold some

    def free(self, standing: Standing) -> int:
        """Free places for zones of this standing."""
        return min(self._at_once_max - self._all.all, self._caps.free(self._all, standing))

    def has_room(self, owner: Hashable, standing: Standing) -> bool:
        """May this owner take one more?"""
        held = self._owners.get(owner)
        return (0 if held is None else _count(held, standing)) < OWNER_PARTS[standing] * self.free(standing)

    def is_held_by_others(self, owner: Hashable, standing: Standing) -> bool:
        """Do others hold more than this owner?"""
        held = self._owners.get(owner)
        return held is None or 2 * _count(held, standing) < _count(self._all, standing)

    def take(self, owner: Hashable, standing: Standing) -> None:
        self._all.add(standing, 1)
        self._owners.setdefault(owner, Held()).add(standing, 1)

    def give_back(self, owner: Hashable, standing: Standing) -> None:
        self._all.add(standing, -1)
        held = self._owners[owner]
        held.add(standing, -1)
        if not held.all:
            del self._owners[owner]


def _count(held: Held, standing: Standing) -> int:
    """Count the taken places that concern a zone: all for a proven one, else those of slow and unknown zones."""
    return held.all if standing is Standing.PROVEN else held.slow + held.unknown
