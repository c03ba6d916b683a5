"""Partitions come and go: where reading begins, and draining and the last commit before one goes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from connectors.runtime.commits import Commits
from connectors.runtime.figures import Figures
from connectors.runtime.flow import Flow
from connectors.runtime.owned import Owned
from connectors.runtime.partition import Partition
from connectors.sink import Place, Sink
from pipeline.config import WorkerConfig
from pipeline.core.log.commit_note import parse_note
from pipeline.core.log.watermark import Watermark
from pipeline.kafka.record import Committed

log = structlog.get_logger()


class Assignment:
    """Answers the consumer when the group rebalances."""

    def __init__(
        self,
        sink: Sink,
        owned: Owned,
        flow: Flow,
        commits: Commits,
        figures: Figures,
        *,
        config: WorkerConfig,
        fail: Callable[[BaseException], None],
    ) -> None:
        """`fail`: this error ends the process."""
        self._sink = sink
        self._owned = owned
        self._flow = flow
        self._commits = commits
        self._figures = figures
        self._config = config
        self._fail = fail
        self._asking: set[asyncio.Future[Mapping[Place, int]]] = set()
        self._forgetting: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self.is_assigned = asyncio.Event()

    def stop(self) -> None:
        """The process ends: take no partition any more, and drain with the grace of a shutdown."""
        self._is_stopping = True
        # a sink that waits for its target to make it the owner of partitions would keep the consumer from closing
        for asking in self._asking:
            asking.cancel()

    async def assigned(self, committed: Mapping[Place, Committed | None]) -> Mapping[Place, int]:
        notes = {
            place: None if known is None else parse_note(known.offset, known.metadata)
            for place, known in committed.items()
        }
        if self._is_stopping:
            return {}
        asking = asyncio.ensure_future(self._sink.assigned(notes))
        self._asking.add(asking)
        try:
            starts = await asking
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
            return {}  # nothing is read any more
        finally:
            self._asking.discard(asking)
        for place, known in committed.items():
            note = notes[place]
            if place in starts:
                mark = Watermark(starts[place])
            else:
                mark = Watermark(known.offset if known is not None else 0, note.done if note is not None else ())
            self._owned.set(Partition(place, mark))
            if known is not None:
                self._commits.note(place, known)
        log.info("assigned", partitions=len(committed))
        self.is_assigned.set()
        return starts

    async def revoked(self, places: Sequence[Place]) -> Mapping[Place, Committed]:
        partitions = self._owned.choose(places)
        grace_s = self._config.shutdown_grace_s if self._is_stopping else self._config.rebalance_grace_s
        self._flow.drop(partitions)
        await self._flow.drain(partitions, grace_s)
        offsets = self._commits.describe(partitions)
        self._let_go(partitions)
        await self._sink.revoked(places)
        log.info("revoked", partitions=len(places))
        return offsets

    def lost(self, places: Sequence[Place]) -> None:
        partitions = self._owned.choose(places)
        self._flow.drop(partitions)
        self._flow.abort(partitions)
        self._let_go(partitions)
        if not any(self._owned):
            # the coordinator may be gone, and no other member have them
            self.is_assigned.clear()
        forgetting = asyncio.create_task(self._sink.revoked(places), name="forgetting")
        self._forgetting.add(forgetting)
        forgetting.add_done_callback(self._end_forgetting)

    def _end_forgetting(self, forgetting: "asyncio.Task[None]") -> None:
        self._forgetting.discard(forgetting)
        if not forgetting.cancelled() and (error := forgetting.exception()) is not None:
            self._fail(error)

    def _let_go(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            if self._owned.remove(partition):
                self._figures.forget(partition.place)
            self._commits.forget(partition.place)
