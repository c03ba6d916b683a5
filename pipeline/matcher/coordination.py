"""aiokafka's answers from a group's coordinator: an error of the whole answer is one.

A broker that does not coordinate the group any more, or not yet, answers the question for commits with an error beside
an empty list. aiokafka 0.14 looks at the list only: without a commit it reads every partition from its beginning.
"""

from typing import Any

from aiokafka.errors import GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

from pipeline.kafka.group.standing import Standing

NO_ERROR = 0
ELSEWHERE = (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError)


def guard_coordinator(coordinator: Any, standing: Standing) -> None:
    """Let `coordinator` (aiokafka's) raise the error, which it asks again after. `standing` hears of its heartbeats."""
    send = coordinator._send_req  # noqa: SLF001
    beat = coordinator._do_heartbeat  # noqa: SLF001

    async def send_guarded(request: Any) -> Any:
        answer = await send(request)
        if isinstance(request, OffsetFetchRequest) and answer.error_code != NO_ERROR:
            error = for_code(answer.error_code)()
            if isinstance(error, ELSEWHERE):
                coordinator.coordinator_dead()
            raise error
        return answer

    async def beat_heard() -> bool:
        is_answered = bool(await beat())
        if is_answered:
            standing.beat()
        return is_answered

    coordinator._send_req = send_guarded  # noqa: SLF001
    coordinator._do_heartbeat = beat_heard  # noqa: SLF001
