"""Runs one program and ends it when whoever asked for it is gone. A script of its own, run by its path.

Standard input is a pipe whose other end the asker holds: when it closes, even by kill -9, the program is told to stop,
and killed if it does not. The first line of standard output is the program's pid. Imports little, because one of these
sits in memory for every embedded service.
"""

import os
import signal
import subprocess
import sys
import threading


def main(arguments: list[str]) -> int:
    """`guard.py STOP_SIGNAL GRACE_S USER LOG_FILE PROGRAM ARGUMENT…`; USER `-` is the current one."""
    stop_signal, grace_s, user, log_file, *command = arguments
    with open(log_file, "ab") as log:  # noqa: PTH123 - pathlib costs memory here
        child = subprocess.Popen(  # noqa: S603 - the program the asker named
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=None if user == "-" else user,
            group=None if user == "-" else user,
            extra_groups=None if user == "-" else [],
        )
    os.write(1, f"{child.pid}\n".encode())
    os.close(1)
    threading.Thread(target=_wait_for_end_of_input, args=(child, int(stop_signal), float(grace_s)), daemon=True).start()
    return child.wait()


def _wait_for_end_of_input(child: "subprocess.Popen[bytes]", stop_signal: int, grace_s: float) -> None:
    while os.read(0, 1024):
        pass
    child.send_signal(stop_signal)
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    # The asker decides when to stop; Ctrl-C in its terminal is not for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main(sys.argv[1:]))
