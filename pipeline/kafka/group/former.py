"""Members of a group that are gone and that its coordinator waits for: what this process was before, taken out at once.

A member that was killed, or whose session ran out while the broker was away, counts until its session has run out with
the coordinator. Until then the group has no partitions to give. Taking it out is safe: one that lives joins again.
"""

import asyncio
import fcntl
import os
from pathlib import Path

import structlog

from pipeline.config import KafkaConfig

ANSWER_TIMEOUT_S = 5.0
SLOTS_MAX = 64

log = structlog.get_logger()


class MemberFile:
    """Remembers the id of a member, for the process that comes after this one at the same place.

    One file for each process of a group in a directory, locked as long as the process lives.
    """

    def __init__(self, directory: Path | None, group: str) -> None:
        """`directory`: None: nothing is remembered."""
        self._slot = _lock_slot(directory, group) if directory is not None else None
        self.former = os.pread(self._slot[0], 1024, 0).decode(errors="replace").strip() if self._slot else ""

    def note(self, member: str) -> None:
        """Remember the process' present member id; an empty one means that it is no member."""
        if self._slot is not None:
            file, _ = self._slot
            os.ftruncate(file, 0)
            os.pwrite(file, member.encode(), 0)

    def close(self) -> None:
        """Forget the member: the process has left the group."""
        if self._slot is not None:
            file, path = self._slot
            # A process that has opened the file and not locked it yet keeps one without a name, which is read by none.
            path.unlink(missing_ok=True)
            os.close(file)
            self._slot = None


class Former:
    """The former member of one process and group. Blocks; for one thread, on which no loop runs."""

    def __init__(self, config: KafkaConfig, group: str, file: MemberFile) -> None:
        self._config = config
        self._group = group
        self._file = file
        self._member = file.former

    def leave(self) -> None:
        """Take out what the process before was, if it did not leave itself."""
        if self._member:
            self._take_out(self._member)
            self._member = ""

    def note(self, member: str) -> None:
        """Remember the process' present member id, if it has one: the former one is to be taken out of the group."""
        if member == self._member or not member:
            return
        before, self._member = self._member, member
        self._file.note(member)
        if before:
            self._take_out(before)

    def close(self) -> None:
        """The process has left the group."""
        self._file.close()

    def _take_out(self, member: str) -> None:
        from pipeline.kafka.group.leaving import leave  # aiokafka takes 0.3 s to import

        try:
            asyncio.run(asyncio.wait_for(leave(self._config, self._group, member), ANSWER_TIMEOUT_S))
        except Exception as error:  # its session runs out by itself
            log.warning("former_member_stays", group=self._group, reason=str(error))
        else:
            log.info("former_member_taken_out", group=self._group)


def _lock_slot(directory: Path, group: str) -> tuple[int, Path] | None:
    for number in range(SLOTS_MAX):
        path = directory / f"{group}.{number}.member"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        else:
            return file, path
    return None
