"""Evaluates the journals: accepted, arrived and lost events. Pure but for reading them."""

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.instruments.client import NO_ANSWER
from bench.instruments.journal import RECEIVED, SENT, read_columns


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one stream, a row each."""

    batch: int
    columns: dict[str, "array[int]"]
    refused: frozenset[int]  # events of batches that were accepted in part

    def list_accepted(self) -> Iterator[int]:
        """The numbers of the events that were accepted."""
        for request, accepted in enumerate(self.columns["accepted"]):
            if accepted:
                first = request * self.batch
                yield from (number for number in range(first, first + self.batch) if number not in self.refused)

    def count_accepted(self) -> int:
        return sum(self.columns["accepted"])

    def count_unknown(self) -> int:
        """Events whose request got no answer, or one that leaves it open."""
        columns = self.columns
        return self.batch * sum(status == NO_ANSWER or status >= 500 for status in columns["status"])

    def count_refused(self) -> int:
        return len(self.columns["status"]) * self.batch - self.count_accepted() - self.count_unknown()

    def describe_statuses(self) -> dict[str, int]:
        """How many requests were answered with which status."""
        statuses = self.columns["status"].tolist()
        return {str(status or "no answer"): statuses.count(status) for status in sorted(set(statuses))}


class Arrival(NamedTuple):
    """One delivery that was answered with success."""

    number: int
    endpoint: int
    intended_us: int
    arrived_us: int


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """All deliveries that were answered with success, a row each."""

    columns: dict[str, "array[int]"]

    def list_arrivals(self, stream: int) -> Iterator[Arrival]:
        """Arrivals of one stream, in their order."""
        columns = self.columns
        for number, endpoint, intended_us, arrived_us, of in zip(
            columns["number"],
            columns["endpoint"],
            columns["intended_us"],
            columns["arrived_us"],
            columns["stream"],
            strict=True,
        ):
            if of == stream:
                yield Arrival(number, endpoint, intended_us, arrived_us)


class Reckoning(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries of one stream. `lost`: of accepted events; `unasked`: at endpoints that should not have had them."""

    expected: int
    arrived: int
    repeated: int
    lost: int
    unasked: int


def read_sent(folder: Path, stream: int, *, batch: int) -> Sent:
    """Read the generator's journal."""
    refused = msgspec.json.decode((folder / f"refused.{stream}.json").read_bytes(), type=list[int])
    return Sent(batch=batch, columns=read_columns(folder, f"sent.{stream}", SENT), refused=frozenset(refused))


def read_received(folder: Path) -> Received:
    """Read the receiver's journal."""
    return Received(columns=read_columns(folder, "received", RECEIVED))


def reckon(sent: Sent, arrivals: Iterable[Arrival], *, first: int, audiences: int, fan_out: int) -> Reckoning:
    """Compare. `first`: the endpoint that the first audience starts with; each has `fan_out` of them."""
    events = len(sent.columns["status"]) * sent.batch
    seen = bytearray(events * fan_out)
    repeated = unasked = 0
    for arrival in arrivals:
        audience = arrival.number // sent.batch % audiences
        place = arrival.endpoint - first - audience * fan_out
        if not (0 <= place < fan_out and arrival.number < events):
            unasked += 1
        elif seen[arrival.number * fan_out + place]:
            repeated += 1
        else:
            seen[arrival.number * fan_out + place] = 1
    lost = expected = 0
    for number in sent.list_accepted():
        expected += fan_out
        lost += fan_out - seen.count(1, number * fan_out, (number + 1) * fan_out)
    return Reckoning(expected=expected, arrived=sum(seen), repeated=repeated, lost=lost, unasked=unasked)
