"""Is this process a member of its group, as the broker says that coordinates it?

Without that broker deliveries and the archive lose their partitions, and nothing that is read is committed. All other
questions are answered, and a client says nothing of it.
"""

import json
import time
from collections.abc import Callable

HEARD_EVERY_MS = 2_000
# Beyond a session: a rebalance may wait so long for a member that was killed.
SLACK_S = 5.0
# "init": it waits for a topic of its pattern
JOINED = ("steady", "init")


class Standing:
    """The standing of one member. Set by its client's thread or by the loop; `check` reads one value."""

    def __init__(self, group: str, *, session_timeout_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        """`clock_s`: monotonic."""
        self.group = group
        self._limit_s = session_timeout_s + SLACK_S
        self._clock_s = clock_s
        self._unsure_since_s: float | None = clock_s()

    def hear(self, statistics: str) -> None:
        """A client's `stats_cb`: a member whose coordinator is connected, and that waits for no rebalance, is one."""
        begin = statistics.rfind('"cgrp":')
        if begin < 0:
            return  # it has not asked for its group yet
        group, _ = json.JSONDecoder().raw_decode(statistics, statistics.index("{", begin))
        self.note(is_member=group["state"] == "up" and group["join_state"] in JOINED)

    def note(self, *, is_member: bool) -> None:
        """Note whether the process is a member now."""
        if is_member:
            self._unsure_since_s = None
        elif self._unsure_since_s is None:
            self._unsure_since_s = self._clock_s()

    def beat(self) -> None:
        """The coordinator has answered a heartbeat: that counts for a session."""
        self._unsure_since_s = self._clock_s()

    def check(self, *, has_partitions: bool = True) -> str | None:
        """Health: None, or why nothing is read. `has_partitions`: has the process those that it needs?"""
        since_s = self._unsure_since_s
        unsure_s = 0.0 if since_s is None else self._clock_s() - since_s
        if unsure_s <= self._limit_s:
            return None if has_partitions else f"no partitions of the group {self.group} are assigned"
        return (
            f"the group {self.group} has not confirmed this process as a member for {unsure_s:.0f} s: the broker that "
            "coordinates it is gone or does not answer, or a rebalance does not end. Every partition of "
            "__consumer_offsets needs a leader: `hookline topics plan`"
        )
