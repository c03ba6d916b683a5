"""How far a replica is behind its primary, in seconds. Pure.

A replica's own clock tells only when the last change it has was made: while nothing changes it looks ever older, and
one that is cut off from its primary looks up to date with all it received. So the primary's place in its log is noted
from time to time, and a replica is as old as the newest place that it has reached.
"""

from collections import deque

NOTES_MAX = 600


class ReplayLag:
    """Replay lag of a primary's replicas. Places are bytes in its log; times in seconds of one clock, rising."""

    def __init__(self) -> None:
        self._notes: deque[tuple[float, int]] = deque(maxlen=NOTES_MAX)

    def note_primary(self, now_s: float, place: int) -> None:
        """The primary is here."""
        if self._notes and place < self._notes[-1][1]:
            self._notes.clear()  # another primary, whose log is another one
        self._notes.append((now_s, place))

    def measure(self, place: int) -> float:
        """Seconds by which a replica is behind the last note of the primary's place; 0 when it has reached it."""
        if not self._notes:
            return 0.0
        newest_s = self._notes[-1][0]
        for noted_s, noted in reversed(self._notes):
            if noted <= place:
                return newest_s - noted_s
        return newest_s - self._notes[0][0]
