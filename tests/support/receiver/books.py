"""The receiver's memory: requests, how many were in flight, bytes sent. Connections write here."""

from collections import Counter
from dataclasses import dataclass, field

from tests.support.receiver.requests import Journal, ParsedRequest, ReceivedRequest, digest
from tests.support.receiver.script import Behaviour, Scripts


@dataclass(slots=True)
class Load:
    """Requests received whole and not answered whole: now, and the most there were at one time."""

    now: int = 0
    most: int = 0


@dataclass(slots=True, kw_only=True)
class Books:
    """`keeps_requests=False`: only the journal has them, so that memory stays flat."""

    scripts: Scripts
    journal: Journal | None
    keeps_requests: bool
    requests: list[ReceivedRequest] = field(default_factory=list)
    received: int = 0
    malformed: list[str] = field(default_factory=list)
    total: Load = field(default_factory=Load)
    loads: dict[str, Load] = field(default_factory=dict)
    sent_bytes: Counter[str] = field(default_factory=Counter)

    def record(self, connection: int, parsed: ParsedRequest) -> tuple[ReceivedRequest, Behaviour]:
        """Choose the behaviour, and write the request down before anything is answered."""
        behaviour = self.scripts.take(parsed.path)
        self.received += 1
        body = bytes(parsed.body)
        request = ReceivedRequest(
            number=self.received,
            connection=connection,
            method=parsed.method,
            target=parsed.target,
            headers=tuple(parsed.headers),
            body=body,
            body_bytes=len(body),
            body_sha256=digest(body),
            arrived_at_us=parsed.arrived_at_us,
            arrived_monotonic_s=parsed.arrived_monotonic_s,
            answer=repr(behaviour),
        )
        if self.journal is not None:
            self.journal.append(request)
        if self.keeps_requests:
            self.requests.append(request)
        return request, behaviour

    def count_open(self, path: str, change: int) -> None:
        """A request was taken up (+1), or is done with (-1)."""
        for load in (self.total, self.loads.setdefault(path, Load())):
            load.now += change
            load.most = max(load.most, load.now)
