"""How long to wait before something that died is started again. Pure."""

FIRST_S = 0.2
LAST_S = 10.0
STEADY_AFTER_S = 30.0


class Backoff:
    """0.2 s, doubling to 10 s; from the start again after it has lived for half a minute."""

    __slots__ = ("_next_s",)

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def take(self, lived_s: float) -> float:
        """The delay now, for one that lived so long."""
        if lived_s >= STEADY_AFTER_S:
            self._next_s = FIRST_S
        delay_s = self._next_s
        self._next_s = min(2 * delay_s, LAST_S)
        return delay_s
