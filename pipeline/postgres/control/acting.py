"""The present actor, whom the triggers of the audit log note beside a change."""

import json
from contextvars import ContextVar

# JSON of kind, id and address; None: Hookline itself. A context variable, because the layers between a request and its
# statements do not know the caller.
ACTOR: ContextVar[str | None] = ContextVar("actor", default=None)


def act_as(kind: str, actor_id: str | None, address: str | None) -> None:
    """Set the actor of this task from here on."""
    ACTOR.set(json.dumps({"kind": kind, "id": actor_id, "address": address}))


def act_as_system() -> None:
    """Set Hookline itself as the actor, for changes without a request."""
    ACTOR.set(None)
