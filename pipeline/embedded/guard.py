"""Runs one program and ends it when the process that asked for it is gone. A script, run by its path.

Standard input is a pipe whose other end the asker holds: when that closes, even by kill -9, the program is asked to
stop, and killed if it does not. The program's pid is the first line of standard output; its output goes to standard
error. Imports next to nothing, because one of these sits in memory for every embedded service.
"""

import os
import pwd
import select
import signal
import sys
import time

CANNOT_RUN = 127  # as a shell says it
_LINUX_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """`guard.py STOP_SIGNAL GRACE_S USER PROGRAM ARGUMENT…`; USER `-` is the current one."""
    stop_signal, grace_s, user, *command = int(arguments[0]), float(arguments[1]), *arguments[2:]
    # The asker decides when to stop; Ctrl-C in its terminal is not for us.
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for noted in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(noted, lambda *_: None)
    pid = _start(command, user, stop_signal)
    if pid is None:
        return CANNOT_RUN
    os.write(1, f"{pid}\n".encode())
    os.close(1)
    return _watch(pid, awake, stop_signal, grace_s)


def _start(command: list[str], user: str, stop_signal: int) -> int | None:
    """The pid of the program once it runs as itself, so that a stop signal sent to it cannot get lost; None if not."""
    guard = os.getpid()
    failure, fail = os.pipe()  # closed by exec
    pid = os.fork()
    if pid:
        os.close(fail)
        reason = os.read(failure, 4096)
        os.close(failure)
        os.write(2, reason)
        return None if reason else pid
    try:
        import ctypes  # in the fork: the guard never pays for it; as ourselves: another user may not see our Python

        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        if user != "-":
            owner = pwd.getpwnam(user)
            os.setgroups([])
            os.setgid(owner.pw_gid)
            os.setuid(owner.pw_uid)
        if sys.platform == "linux":
            # if the guard itself is killed, the kernel stops the program; after setuid, which would forget it
            ctypes.CDLL(None).prctl(_LINUX_PR_SET_PDEATHSIG, stop_signal)
            if os.getppid() != guard:
                os._exit(CANNOT_RUN)
        os.execv(command[0], command)  # noqa: S606 - the program the asker named
    except BaseException as error:  # whatever it is, this fork must not go on as a second guard
        os.write(fail, f"cannot run {command[0]}: {error}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def _watch(pid: int, awake: int, stop_signal: int, grace_s: float) -> int:
    watched, deadline_s = [0, awake], None
    while True:
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        ready, _, _ = select.select(watched, [], [], left_s)
        received = os.read(awake, 512) if awake in ready else b""
        if signal.SIGCHLD in received:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        asked = signal.SIGTERM in received or (0 in ready and not os.read(0, 1024))
        if asked and len(watched) == 2:
            watched, deadline_s = [awake], time.monotonic() + grace_s
            os.kill(pid, stop_signal)
        elif deadline_s is not None and not ready:
            deadline_s = None
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
