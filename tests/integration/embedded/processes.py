"""Questions of tests about processes, answered by the operating system."""

import psutil


def is_gone(pid: int) -> bool:
    """No such process, or one that only waits to be collected."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
