"""The one exception by which a command or a process says that it cannot start."""


class StartError(Exception):
    """The process cannot start as configured. The message says what is wrong and what to do; no traceback is shown."""
