"""Which ports an endpoint may have: the web's, and high ones on which no well-known service listens. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

PORT_MAX = 65_535
ALLOWED = "80 443 1024-65535"
# Services that are refused even at public addresses: each executes, or used to execute, commands of any peer.
DENIED = (
    "1080 3128 8118 9050 "  # proxies
    "1099 1433-1434 1521 1830 "  # Java RMI, SQL Server, Oracle
    "1883 4222 5671-5672 15672 61613-61616 "  # brokers: MQTT, NATS, AMQP, RabbitMQ, ActiveMQ
    "2049 3260 3389 5900-5903 5985-5986 6000-6063 "  # NFS, iSCSI, RDP, VNC, WinRM, X11
    "2181 2888 3888 9092-9094 "  # ZooKeeper, Kafka
    "2375-2380 4001 "  # Docker, etcd
    "3050 3306 33060 5432-5433 6432 50000 "  # Firebird, MySQL, PostgreSQL, PgBouncer, Db2
    "4369 25672 "  # Erlang
    "4646-4648 8200-8201 8300-8302 8500-8502 "  # Nomad, Vault, Consul
    "5984 7000-7001 7199 9042 9160 28015 26257 27017-27019 "  # CouchDB, Cassandra, RethinkDB, CockroachDB, MongoDB
    "6379-6380 16379 26379 11211 "  # Redis, memcached
    "6443 10248-10259 "  # Kubernetes: API server, kubelet
    "9200 9300"  # Elasticsearch
)
WORD = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRules:
    """Ports that are in `allowed` and not in `denied`."""

    allowed: tuple[range, ...]
    denied: tuple[range, ...]

    def allows(self, port: int) -> bool:
        return _holds(self.allowed, port) and not _holds(self.denied, port)


def parse_ports(text: str) -> tuple[range, ...]:
    """`80 443 1024-65535` → ranges. Raises ValueError that names the word."""
    return tuple(_parse_word(word) for word in text.split())


def _parse_word(word: str) -> range:
    match = WORD.fullmatch(word)
    if match is not None:
        first, last = int(match[1]), int(match[2] or match[1])
        if 1 <= first <= last <= PORT_MAX:
            return range(first, last + 1)
    raise ValueError(f"{word!r} is neither a port nor a range of ports")


def _holds(ranges: Iterable[range], port: int) -> bool:
    return any(port in each for each in ranges)
