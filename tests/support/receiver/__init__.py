"""The scripted receiver: an HTTP(S) server that records what it gets and answers as a test told it to.

In a test: `async with Receiver() as receiver: receiver.script("/path", FailTimes(2)); ... receiver.requests("/path")`.
As a process of its own, which survives the kills of others: `ReceiverProcess`, or
`python -m tests.support.receiver --journal FILE`. It verifies nothing; `tests.support.verification` does.
"""

from tests.support.receiver.answers import Gone, Ok, Redirect, Status, TooMany
from tests.support.receiver.hostile import (
    BadChunking,
    CloseUnanswered,
    Drip,
    EndlessBody,
    Garbage,
    GzipBomb,
    HalfClose,
    Hang,
    HugeHeaders,
    InformationalFlood,
    LieAboutLength,
    Reset,
    Slow,
)
from tests.support.receiver.process import ReceiverProcess
from tests.support.receiver.requests import Journal, ReceivedRequest, read_journal
from tests.support.receiver.script import Behaviour, FailTimes, Step, Times, parse_step
from tests.support.receiver.server import Receiver

__all__ = [
    "BadChunking",
    "Behaviour",
    "CloseUnanswered",
    "Drip",
    "EndlessBody",
    "FailTimes",
    "Garbage",
    "Gone",
    "GzipBomb",
    "HalfClose",
    "Hang",
    "HugeHeaders",
    "InformationalFlood",
    "Journal",
    "LieAboutLength",
    "Ok",
    "ReceivedRequest",
    "Receiver",
    "ReceiverProcess",
    "Redirect",
    "Reset",
    "Slow",
    "Status",
    "Step",
    "Times",
    "TooMany",
    "parse_step",
    "read_journal",
]
