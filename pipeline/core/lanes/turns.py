"""Turns that go round: first among groups, then among the members of a group. So many members give no group more."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Members that wait for their turn, each once."""

    __slots__ = ("_groups", "_waiting")

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._waiting = 0

    def __len__(self) -> int:
        """Members that wait."""
        return self._waiting

    def append(self, group: Hashable, member: T) -> None:
        """Wait behind all others of the group."""
        members = self._groups.get(group)
        if members is None:
            members = self._groups[group] = deque()
        members.append(member)
        self._waiting += 1

    def remove(self, group: Hashable, member: T) -> None:
        """Wait no longer."""
        members = self._groups[group]
        members.remove(member)
        self._waiting -= 1
        if not members:
            del self._groups[group]

    def pop(self, may_have: Callable[[Hashable], bool]) -> T | None:
        """The next member of the first group that may have a turn; the group moves to the end. None: no group may."""
        for _ in range(len(self._groups)):
            group, members = next(iter(self._groups.items()))
            if not may_have(group):
                self._groups.move_to_end(group)
                continue
            member = members.popleft()
            self._waiting -= 1
            if members:
                self._groups.move_to_end(group)
            else:
                del self._groups[group]
            return member
        return None
