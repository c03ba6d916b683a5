"""The error of embedded services: one class whose message says how to mend it."""


class EmbeddedError(Exception):
    """An embedded service cannot be prepared or started."""
