"""Who acts at this moment: what the triggers of the audit log note beside a change."""

import json
from contextvars import ContextVar

# JSON of kind, id and address; None: nobody but Hookline itself. A context variable, because between a request and its
# statements there are layers that know nothing of who is asking.
ACTOR: ContextVar[str | None] = ContextVar("actor", default=None)


def act_as(kind: str, actor_id: str | None, address: str | None) -> None:
    """For what this task does from here on."""
    ACTOR.set(json.dumps({"kind": kind, "id": actor_id, "address": address}))


def act_as_nobody() -> None:
    """The same, for what nobody asked for."""
    ACTOR.set(None)
