"""Shortages of this process: files, memory, ports, threads … An endpoint has no part in it."""

import errno
import socket
import ssl

KINDS = {
    errno.EMFILE: "files",
    errno.ENFILE: "files",
    errno.ENOMEM: "memory",
    errno.ENOBUFS: "buffers",
    errno.EADDRNOTAVAIL: "ports",
    errno.ENOSPC: "disk",
    errno.EDQUOT: "disk",
    errno.EROFS: "disk",
    errno.ENETDOWN: "network",
}

LOOKUPS = "look-ups"
# no shortage of this process: an application has used up its share, and what else it has waits
OWN_LOOKUPS = "look-ups of its application"


class ShortageError(Exception):
    """A resource of this process is exhausted. `kind`: which, in a word."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"Hookline itself is short of {kind}")
        self.kind = kind


def find_shortage(error: BaseException) -> str | None:
    """The kind of shortage that an exception tells of; None: it is none."""
    if isinstance(error, ShortageError):
        return error.kind
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, socket.gaierror):
        return "memory" if error.errno == socket.EAI_MEMORY else None
    if isinstance(error, ssl.SSLError):
        return "memory" if "MALLOC" in (error.reason or "") else None
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "threads"
    if isinstance(error, OSError):
        return KINDS.get(error.errno or 0)
    return None
