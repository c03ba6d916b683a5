"""What can go wrong with embedded services, as one class whose message says what to do."""


class EmbeddedError(Exception):
    """An embedded service cannot be prepared or started."""
