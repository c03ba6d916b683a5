"""Loop detection: every request says which Hookline it comes from, so that one that comes back is recognised. Pure.

Outgoing requests carry `Hookline-Hop: <id>`. Who passes a webhook on, headers included, into a Hookline's ingest brings
the ids of all it went through; `find_hop_problem` is for the gateway to refuse one that went through too many.
"""

import hashlib
from collections.abc import Iterable

HOP_HEADER = "hookline-hop"
HOPS_MAX = 3
ID_CHARS = 16


def derive_hop(instance: str) -> str:
    """A deployment's id: a hash of its name, which distinguishes deployments without revealing the name."""
    return hashlib.sha256(instance.encode()).hexdigest()[:ID_CHARS]


def list_hops(values: Iterable[str]) -> tuple[str, ...]:
    """The ids in the values of all `Hookline-Hop` headers of one request, in order."""
    return tuple(hop for value in values for word in value.split(",") if (hop := word.strip()))


def find_hop_problem(values: Iterable[str], *, hops_max: int = HOPS_MAX) -> str | None:
    """Why an event that came with these headers must not be taken, as a sentence; None: it may."""
    count = len(list_hops(values))
    if count > hops_max:
        return f"the request came through {count} deliveries of Hookline; more than {hops_max} look like a loop"
    return None
