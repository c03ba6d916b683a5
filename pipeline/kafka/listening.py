"""Does any broker listen? For commands, which say at once that Kafka is not running instead of waiting for it."""

import socket
from urllib.parse import urlsplit

from pipeline.config import KafkaConfig
from pipeline.start_error import StartError

CONNECT_TIMEOUT_S = 1.0
DEFAULT_PORT = 9092


class KafkaClosedError(StartError):
    """No broker listens."""


def refuse_closed(config: KafkaConfig) -> None:
    """Raise `KafkaClosedError` when every broker of the bootstrap list refuses connections.

    A broker that is slow, silent or of an unknown name is left to the client, which waits for it. A process does not
    ask: it may have been started together with its brokers.
    """
    servers = config.bootstrap_servers.split(",")
    if all(_is_closed(server.strip()) for server in servers):
        refused = "it refuses" if len(servers) == 1 else f"all {len(servers)} brokers refuse"
        raise KafkaClosedError(describe_unreachable(config, f"{refused} connections"))


def describe_unreachable(config: KafkaConfig, reason: str) -> str:
    """The sentence of a command or process without Kafka, with what to look at."""
    hint = "wrong user or password (HOOKLINE_KAFKA_USERNAME, HOOKLINE_KAFKA_PASSWORD)?" if config.username else ""
    return (
        f"cannot reach Kafka at {config.bootstrap_servers}: {reason}. Is it running, is "
        f"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS right? {hint}"
    ).rstrip()


def _is_closed(server: str) -> bool:
    try:
        parts = urlsplit(server if "://" in server else f"//{server}")
        address = (parts.hostname or "", parts.port or DEFAULT_PORT)
        socket.create_connection(address, timeout=CONNECT_TIMEOUT_S, all_errors=True).close()
    except ExceptionGroup as errors:  # one error for each address of the name
        return all(isinstance(error, ConnectionRefusedError) for error in errors.exceptions)
    except (OSError, ValueError):  # a name without addresses, or no address at all
        return False
    return False
