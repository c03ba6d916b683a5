"""Which offsets hold no record, and how far each partition is settled: for a sink that keeps positions itself."""

from collections.abc import Callable

from connectors.runtime.owned import Owned
from connectors.sink import Place, PositionKeeper


class Positions:
    """Reports to the sink's `PositionKeeper`, if it has one, and has gaps explained."""

    def __init__(self, owned: Owned, keeper: PositionKeeper | None, explain: Callable[[Place, int, int], None]) -> None:
        """`explain`: finds out whether retention deleted records between two offsets."""
        self._owned = owned
        self._keeper = keeper
        self._explain = explain

    def note_gap(self, place: Place, begin: int, end: int) -> None:
        """Note that no record was read from `begin` up to `end`, for a reason that is not known yet."""
        self.note_vacant(place, begin, end)
        if begin > 0:
            self._explain(place, begin, end)

    def note_vacant(self, place: Place, begin: int, end: int) -> None:
        """The log holds no record from `begin` up to `end`."""
        if self._keeper is not None:
            self._keeper.note_vacant(place, begin, end)

    def set_back(self, place: Place, position: int) -> None:
        """The log has begun anew: its next records are others, from `position` on."""
        if self._keeper is not None:
            self._keeper.set_back(place, position)

    def report(self) -> None:
        """Report partitions of which everything read is settled; to be called regularly."""
        if self._keeper is None:
            return
        for partition in self._owned:
            if partition.is_settled:
                self._keeper.reached(partition.place, partition.mark.next_offset)
