"""Asking the system for the addresses of a name: it blocks, for half a minute when name servers are silent."""

import contextlib
import mmap
import os
import socket
import threading
from collections.abc import Callable, Sequence

LOOKUP_BYTES = 16 * 1024 * 1024  # modules that the resolver loads, and room to work

# Blocking; raises what `socket.getaddrinfo` raises.
Lookup = Callable[[str], Sequence[str]]


def look_up(name: str) -> list[str]:
    """The addresses of a name, IPv4 and IPv6, in the order in which the system would dial them."""
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except socket.gaierror:
        # without a file or memory for the question the system's resolver says that the name does not exist
        _require_means()
        raise


def warm_up() -> None:
    """Let the system's resolver load its modules now.

    One that cannot be loaded, for lack of files or memory, is never tried again: no name would ever be found.
    """
    with contextlib.suppress(OSError):
        look_up("localhost")


def _require_means() -> None:
    """Check that the process has what a look-up takes. Raises OSError if not."""
    os.close(os.open(os.devnull, os.O_RDONLY))
    mmap.mmap(-1, LOOKUP_BYTES).close()


def start_daemon(run: Callable[[], None]) -> None:
    """Run in a daemon thread: at the end of the process a name server may be silent, and must not be waited for."""
    threading.Thread(target=run, name="lookup", daemon=True).start()
