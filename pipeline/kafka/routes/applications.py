"""One application by the routes topic: its head, its history, and which version applied when."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.events.records import RoutesPart
from pipeline.core.routing.routes import RoutesHistory


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an application's routes: its number, and when the broker appended it."""

    number: int
    appended_at_us: int
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The newest head in the log. `change_id` is empty for one published before there were change ids."""

    version: int
    change_id: str
    deleted: bool
    control_plane_id: str
    epoch: int


NO_HEAD = Head(0, "", deleted=True, control_plane_id="", epoch=0)


class Application:
    """An application's versions, as many as are kept. `staged`: parts that take effect with the next head."""

    __slots__ = ("head", "history", "organization_id", "secrets", "staged", "versions")

    def __init__(self, history_max: int) -> None:
        self.history = RoutesHistory()
        self.versions: deque[Version] = deque(maxlen=history_max)
        self.staged: dict[str, RoutesPart | None] = {}
        self.organization_id = ""
        self.secrets: set[str] = set()  # hashes in hex
        self.head = NO_HEAD


def choose_version(versions: Sequence[Version], appended_at_us: int, version_min: int) -> Version:
    """The version that applied to an event appended at this time. `versions`: those kept, oldest first.

    That is the newest version that is at most `version_min`, which is known from a marker, or was appended no later
    than the event. A marker is exact; after a restart, markers behind the committed offset are not read again, and the
    time stands in: what was published later than the event was not yet answered when the event was accepted. Versions
    that are no longer kept count as their oldest successor.
    """
    chosen = versions[-1]
    if len(versions) > 1 and chosen.number > version_min:
        for version in reversed(versions):
            chosen = version
            if version.number <= version_min or version.appended_at_us <= appended_at_us:
                break
    return chosen
