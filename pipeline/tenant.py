"""The tenant for which the present task works: tenants share a pool's places, and the loop's time for long work."""

from contextvars import ContextVar

SYSTEM = ""
# A context variable, because the layers between a request and its statements do not know the caller.
TENANT: ContextVar[str] = ContextVar("tenant", default=SYSTEM)


def work_for(tenant: str) -> None:
    """Set the tenant of this task from here on: an organization, a person, or `SYSTEM` for what is shared by all."""
    TENANT.set(tenant)
