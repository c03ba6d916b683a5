"""How much of the log a restored archive gets again, and how much is in neither. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.core.log.positions import Place


class Noted(NamedTuple):
    """How far an archive is with a partition, and with which topic. `appended_at_us`: of the newest record, if any."""

    next_offset: int
    topic_id: str | None
    appended_at_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One partition. Offsets are counted, of which some may hold no record.

    `again`: those that the log still has. `gone`: those that are neither archived nor in the log. `problem`: why the
    archive's position says nothing about this log; empty: it does.
    """

    place: Place
    again: int
    gone: int
    problem: str = ""


def compare(
    noted: Mapping[Place, Noted], bounds: Mapping[Place, tuple[int, int]], topic_ids: Mapping[str, str]
) -> list[Part]:
    """Compare the positions of an archive with the log. `bounds`: begin and end of each partition of its topics."""
    return [
        _compare(place, noted.get(place), *bounds[place], topic_id=topic_ids.get(place[0])) for place in sorted(bounds)
    ]


def _compare(place: Place, noted: Noted | None, begin: int, end: int, *, topic_id: str | None) -> Part:
    position = max(noted.next_offset, 0) if noted is not None else 0
    if noted is not None and noted.topic_id is not None and topic_id is not None and noted.topic_id != topic_id:
        problem = "the topic was deleted and made again since: its records are archived from the beginning"
        return Part(place=place, again=end - begin, gone=begin, problem=problem)
    if position > end:
        problem = f"the archive is at offset {position}, and the log ends at {end}: it has lost its end"
        return Part(place=place, again=0, gone=0, problem=problem)
    return Part(place=place, again=end - max(position, begin), gone=max(0, begin - position))
