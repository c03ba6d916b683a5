"""The error of a benchmark itself."""


class BenchError(Exception):
    """The run failed, so that its figures mean nothing. The message says why."""
