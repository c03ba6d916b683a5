"""Whether the log says what the database says, at the start and every few seconds; what differs is brought in line.

The database is the truth. An application of which the log has something that cannot have come from this database is
published again as a whole, under a version above all of the log; one that the database does not have is taken back.
When a batch of the log cannot be read, here or by a process that says so, or what was published is lost from it, all
applications are published again.

Another database whose gateways run as well would do the same in turn, for ever: two installations have one topic prefix
by mistake. It is known by applications that it publishes after this database did, or took them back; what it has is not
taken back again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import structlog

from pipeline.core.routing.agreement import Verdict, judge
from pipeline.gateway.ghosts import Ghosts
from pipeline.gateway.publishing import LeaseLostError, Publisher
from pipeline.kafka.producer import KafkaUnavailableError
from pipeline.kafka.routes.applications import Head
from pipeline.kafka.routes_view import RoutesView
from pipeline.metrics import Metrics
from pipeline.postgres.control.control_plane import ApplicationState, list_states, read_identity
from pipeline.postgres.pool import DatabaseUnavailable, Pool

INTERVAL_S = 5.0
SHOWN_MAX = 20

log = structlog.get_logger()


class Agreement:
    """Compares, says and heals. `run` for ever; `check` for health."""

    def __init__(
        self,
        pool: Pool,
        routes: RoutesView,
        publisher: Publisher,
        ghosts: Ghosts,
        metrics: Metrics,
        *,
        take_lost: Callable[[], Awaitable[bool]],
    ) -> None:
        """`take_lost`: has the log lost something that was published, since this was last asked?"""
        self._take_lost = take_lost
        self._pool = pool
        self._routes = routes
        self._publisher = publisher
        self._ghosts = ghosts
        self._metrics = metrics
        self._behind: dict[str, tuple[Head | None, ApplicationState]] = {}  # seen once: the view may just be late
        self._differing = 0
        self._own: set[str] = set()  # applications whose head has been this database's
        self._taken_back: dict[str, int] = {}  # applications, and the version that ended them
        self._rivals: set[str] = set()  # other databases, or copies of this one, that publish meanwhile
        self._to_publish: set[str] = set()  # whose records may be lost
        self._asked: list[asyncio.Future[None]] = []
        self._has_been_asked = asyncio.Event()

    async def publish_all(self) -> None:
        """Return when each application has been published again or tried; a failure is tried again every round."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append(done)
        self._has_been_asked.set()
        await done

    def check(self) -> str | None:
        """Health: None, or the problem."""
        if self._rivals:
            rivals = ", ".join(sorted(self._rivals))
            return (
                f"another database publishes into these topics as well (control plane {rivals}): two installations "
                "have one HOOKLINE_KAFKA_TOPIC_PREFIX, or gateways of one have different HOOKLINE_DATABASE_WRITE_URL; "
                "stop the wrong one, then restart these gateways. "
                f"Log and database disagree about {self._differing} applications"
            )
        if not self._differing:
            return None
        return f"log and database disagree about {self._differing} applications; the database is published again"

    async def run(self) -> None:
        """Runs for ever."""
        while True:
            try:
                await self._compare_and_heal()
            except DatabaseUnavailable as error:
                log.warning("agreement_waits", reason=str(error).partition("\n")[0])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._has_been_asked.wait(), INTERVAL_S)
            self._has_been_asked.clear()

    async def _compare_and_heal(self) -> None:
        # the log first: its records were in the database before
        heads = dict(self._routes.heads())
        identity = await read_identity(self._pool)
        if identity is None:
            return
        asked = list(self._asked)
        states = {state.application_id: state for state in await list_states(self._pool)}
        self._look_for_rivals(heads, states, identity[0])
        # whose records were in a batch that cannot be read, or are lost, is not known
        if self._routes.take_incomplete() | await self._take_lost() or asked:
            self._to_publish = set(states)
        self._to_publish &= states.keys()
        differing = {*self._list_foreign(heads, states), *self._to_publish}
        foreign = [each for each in states if each in differing]
        ghosts = [each for each, head in heads.items() if each not in states and not head.deleted]
        self._differing = len(foreign) + len(ghosts)
        self._metrics.disagreements.set(self._differing)
        if self._differing:
            to_take_back = [each for each in ghosts if not self._is_contested(each, heads[each], identity[0])]
            await self._heal(foreign, to_take_back, heads)
        self._asked = self._asked[len(asked) :]
        for done in asked:
            if not done.done():
                done.set_result(None)

    def _look_for_rivals(
        self, heads: Mapping[str, Head], states: Mapping[str, ApplicationState], control_plane_id: str
    ) -> None:
        for application_id, head in heads.items():
            is_ours = head.control_plane_id in {"", control_plane_id}
            state = states.get(application_id)
            # its head may have been ours between two rounds
            is_taken_back = head.deleted and state is not None and head.version > state.published_version
            if self._is_back(application_id, head) or (not is_ours and (is_taken_back or application_id in self._own)):
                if head.control_plane_id not in self._rivals:
                    self._rivals.add(head.control_plane_id)
                    log.error("another_database_publishes", control_plane_id=head.control_plane_id)
            elif is_ours:
                self._own.add(application_id)

    def _is_back(self, application_id: str, head: Head) -> bool:
        """Did someone publish an application that was taken back?"""
        return not head.deleted and head.version > self._taken_back.get(application_id, head.version)

    def _is_contested(self, application_id: str, head: Head, control_plane_id: str) -> bool:
        is_rivals = head.control_plane_id != control_plane_id and head.control_plane_id in self._rivals
        return is_rivals or self._is_back(application_id, head)

    async def _heal(self, foreign: list[str], ghosts: list[str], heads: Mapping[str, Head]) -> None:
        log.error(
            "log_and_database_disagree",
            applications=self._differing,
            to_publish_again=foreign[:SHOWN_MAX],
            to_take_back=ghosts[:SHOWN_MAX],
        )
        for application_id in foreign:
            if await self._try(self._publisher.publish_or_raise(application_id, is_forced=True), application_id):
                self._to_publish.discard(application_id)
        for application_id in ghosts:
            organization_id = self._routes.organization_of(application_id) or ""
            taking_back = self._ghosts.take_back(application_id, organization_id, heads[application_id])
            if await self._try(taking_back, application_id):
                self._taken_back[application_id] = heads[application_id].version + 1
            self._metrics.healed_total.inc()

    def _list_foreign(self, heads: Mapping[str, Head], states: Mapping[str, ApplicationState]) -> list[str]:
        found = []
        behind: dict[str, tuple[Head | None, ApplicationState]] = {}
        for application_id, state in states.items():
            head = heads.get(application_id)
            verdict = judge(
                (head.version, head.change_id) if head is not None else None,
                newest=(state.routes_version, state.change_id),
                published=(state.published_version, state.published_change_id),
            )
            match verdict:
                case Verdict.AGREED:
                    pass
                case Verdict.FOREIGN:
                    found.append(application_id)
                case Verdict.BEHIND:
                    behind[application_id] = (head, state)
                    if self._behind.get(application_id) == behind[application_id]:
                        found.append(application_id)
        self._behind = behind
        return found

    async def _try(self, healing: Awaitable[object], application_id: str) -> bool:
        """Try to agree; did it succeed? A failure concerns this application only, which is tried again in the next
        round.
        """
        try:
            await healing
            return True
        except (KafkaUnavailableError, LeaseLostError, *DatabaseUnavailable) as error:
            log.warning("healing_waits", application_id=application_id, reason=str(error))
        except Exception:
            log.exception("healing_failed", application_id=application_id)
        return False
