"""The messages between the processes of a benchmark: plans, commands and answers of generator and receiver.

A plan is read from a file at the start; commands are lines of JSON on standard input, answers lines on standard output.
"""

from pathlib import Path
from typing import TypeVar

import msgspec

# of a command or an answer
LINE_MAX_BYTES = 1024 * 1024
OK, STATUS, HANG, RESET, DRIP = "ok", "status", "hang", "reset", "drip"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint's behaviour. `kind`: ok, status (answers `status`), hang, reset, or drip (a head of
    a byte a second, without an end)."""

    kind: str = OK
    delay_ms: float = 0.0
    status: int = 200


class Audience(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an event is for: an application, and the labels that its matching subscriptions select."""

    application_id: str
    secret: str
    event_type: str
    labels: dict[str, str]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Times at which events are sent. `rate_per_s` None: as soon as a connection is free.

    `rises_every_s`: the rate grows by itself each time so many seconds are over, the first time aside; None: it stays.
    `events_max`: so many, None: until a command to stop. `is_limited`: only as many as `allow` commands have allowed.
    """

    rate_per_s: float | None = None
    rises_every_s: float | None = None
    events_max: int | None = None
    is_limited: bool = False


class StreamPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of events. Requests go to the audiences in turn; `batch` events each, 1 by `POST /event`.

    `payloads`: instead of the plan's.
    """

    number: int
    pace: Pace
    audiences: list[Audience]
    connections: int
    batch: int = 1
    payloads: list[str] = []


class GeneratorPlan(msgspec.Struct, frozen=True, kw_only=True):
    """`apis`: of each gateway, ending in /api/v1; connections go to them in turn. `journal_dir`: of the results.

    `payloads`: JSON objects, sent in turn.
    """

    apis: list[str]
    streams: list[StreamPlan]
    payloads: list[str]
    has_event_ids: bool
    journal_dir: str


class ReceiverPlan(msgspec.Struct, frozen=True, kw_only=True):
    """`answers`: of each endpoint, `/e/0` first. `groups`: sizes of consecutive endpoints, counted together."""

    host: str
    answers: list[Answer]
    groups: list[int]
    journal_dir: str


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line to either. To the generator: start (a stream, `at_us`), stop, allow (`total` events), finish.

    To the receiver: answer (endpoints `first` to before `end`), save (write the journal so far).
    """

    do: str
    stream: int = 0
    at_us: int = 0
    total: int = 0
    first: int = 0
    end: int = 0
    answer: Answer = Answer()


class GeneratorProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the generator; lists by stream. `is_saved`: the journal is written, and this is the last line."""

    due: list[int]
    sent: list[int]
    accepted: list[int]
    failed: list[int]
    is_saved: bool = False


class ReceiverProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the receiver. `received`: answered with success, by group; `saved`: how often the journal was."""

    port: int
    received: list[int]
    requests: int
    misunderstood: int
    saved: int = 0


T = TypeVar("T")


def read_plan(path: Path, kind: type[T]) -> T:
    """The plan that a file holds."""
    return msgspec.json.decode(path.read_bytes(), type=kind)


def write_plan(path: Path, plan: msgspec.Struct) -> None:
    """Leave the plan for the process that is about to start."""
    path.write_bytes(msgspec.json.encode(plan))
