"""Errors of the Kafka client beside those of single records: a broker that is away, a refused login, a time-out.

By itself the client writes them to stderr, in a form of its own and again at every attempt. Here each becomes a line of
our log, once in a while, and the last one is the reason that a refused start names.
"""

import re
import time

import structlog
from confluent_kafka import KafkaError, KafkaException

# The same error is logged once in so long.
QUIET_S = 30.0
REMEMBERED_MAX = 100
# What differs from attempt to attempt: "(after 12ms in state CONNECT, 3 identical error(s) suppressed)".
_CHANGING = re.compile(r" \(after .*\)")
log = structlog.get_logger()


class ClientErrors:
    """The errors of all clients of this process, whose threads call it."""

    def __init__(self) -> None:
        self._logged_at_s: dict[str, float] = {}
        self.last: str | None = None  # the reason of the last one

    def note(self, error: KafkaError) -> None:
        """A client's `error_cb`. Raises `KafkaException` for what is fatal, as a client without one does."""
        if error.fatal():
            raise KafkaException(error)
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the library's name
            return  # each of them was reported, with its reason
        reason = self.last = _CHANGING.sub("", error.str())
        now_s = time.monotonic()
        if now_s - self._logged_at_s.get(reason, -QUIET_S) < QUIET_S:
            return
        if len(self._logged_at_s) >= REMEMBERED_MAX:
            self._logged_at_s.clear()
        self._logged_at_s[reason] = now_s
        log.warning("kafka_client_failing", error=error.name(), reason=reason)


CLIENT_ERRORS = ClientErrors()


def describe_failure(what: str, error: KafkaException | TimeoutError) -> str:
    """The sentence of a command or process that cannot do `what`, with what to look at."""
    cause = error.args[0] if error.args else error
    reason = cause.str() if isinstance(cause, KafkaError) else str(cause) or "no answer in time"
    return f"cannot {what}: {reason}. Does Kafka answer (`hookline doctor`), and may this user do that (ACLs)?"
