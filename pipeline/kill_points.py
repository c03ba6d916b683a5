"""Dying at a named point, as tests of crashes want it: the process kills itself when it comes by for the n-th time.

Set by HOOKLINE_PROCESS_KILL_AT, `NAME:COUNT`. Without it a point is one comparison.
"""

import os
import signal


class KillPoints:
    """The point that kills this process, if there is one."""

    __slots__ = ("_left", "_name")

    def __init__(self, spec: str | None) -> None:
        name, _, count = (spec or "").partition(":")
        self._name = name or None
        self._left = int(count or 1)

    def reach(self, name: str) -> None:
        """The process comes by the point `name`."""
        if self._name is None or name != self._name:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
