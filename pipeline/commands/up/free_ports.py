"""Ports for what is about to start: chosen once, so that a process that is started again keeps its address."""

from pipeline.embedded.ports import choose_port


class FreePorts:
    """Never hands out a port twice, though nobody listens on it yet."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, name: str, port: int | None = None) -> int:
        """The given port, if it is free, or any free one. Raises `EmbeddedError`."""
        chosen = choose_port(port, name)
        while chosen in self._taken and port is None:
            chosen = choose_port(None, name)
        self._taken.add(chosen)
        return chosen
