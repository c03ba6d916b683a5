"""`/audit_log`: who changed what, newest first; and how long it is kept."""

import asyncio
from typing import Any, TypedDict

import structlog
from aiohttp import web

from pipeline.core.events.moments import show_datetime
from pipeline.gateway.answers import Id, Time, answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.headers import set_links
from pipeline.gateway.operations import Operation
from pipeline.gateway.reads.queries import declare_id, declare_text, take
from pipeline.postgres.control.audit_log import FORGET_ROWS, AuditEntry, AuditFilter, forget_entries, list_entries
from pipeline.postgres.pool import DatabaseUnavailable, Pool

PAGE_ENTRIES = 100
AUDIT_ID_MAX = 10**18 - 1
FORGET_INTERVAL_S = 3600.0

log = structlog.get_logger()


def read_audit_id(text: str) -> int:
    """Read the id of an entry. Raises `ValueError`."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(AUDIT_ID_MAX))):
        raise ValueError(text)
    return int(text)


FILTERS = (
    declare_id("organization_id", "Whose it is; left out, all: for the master key."),
    declare_id("application_id", "Only changes in this application."),
    declare_text("actor_id", "Only what this user, token or application did."),
    declare_text("resource", "Only changes of this kind of thing, `subscription` for example."),
    declare_text("resource_id", "Only changes of this one."),
    declare_text("before", "Only entries with a lower `audit_id`.", read_audit_id, "an `audit_id`"),
    declare_text("after", "Only entries with a higher `audit_id`, the nearest ones.", read_audit_id, "an `audit_id`"),
)


class ActorShown(TypedDict):
    """The author of a change."""

    kind: str
    id: str | None
    address: str | None


class EntryShown(TypedDict):
    """A change."""

    audit_id: int
    changed_at: Time
    actor: ActorShown
    organization_id: Id | None
    application_id: Id | None
    resource: str
    resource_id: str
    action: str
    changes: dict[str, Any]


def list_routes() -> list[Operation]:
    return [Operation("GET", "/audit_log", show_all, query=FILTERS, answer=list[EntryShown])]


async def show_all(request: web.Request) -> web.Response:
    """A page of the audit log of an organization, newest first; with the master key of all, users included.

    Its `Link` leads on and back.
    """
    gateway, caller = request.app[GATEWAY], await authorize(request)
    organization_id = take(request, "organization_id")
    if organization_id is not None:
        await caller.require_organization(organization_id)
    else:
        caller.require_master()
    wanted = AuditFilter(
        organization_id=organization_id,
        application_id=take(request, "application_id"),
        actor_id=take(request, "actor_id"),
        resource=take(request, "resource"),
        resource_id=take(request, "resource_id"),
        before=take(request, "before"),
        after=take(request, "after"),
    )
    entries, complete_to = await list_entries(gateway.pool, wanted, most=PAGE_ENTRIES)
    response = answer_json([_show(entry) for entry in entries])
    links = _lead([entry.audit_id for entry in entries], wanted, complete_to)
    set_links(request, response, gateway.settings.gateway.public_url, links)
    return response


def _lead(ids: list[int], wanted: AuditFilter, complete_to: int) -> list[tuple[str, dict[str, str | None]]]:
    """Links of a page of entries. An empty page leads back to the entry that it began behind.

    The newest page may show entries above `complete_to`: the next one repeats these, and skips none.
    """
    older = ids[-1] if len(ids) == PAGE_ENTRIES else None
    newer = ids[0] if ids else None
    if wanted.after is not None:
        older, newer = (ids[-1], ids[0]) if ids else (min(wanted.after + 1, AUDIT_ID_MAX), wanted.after)
    elif newer is None and wanted.before is not None:
        newer = max(wanted.before - 1, 0)
    links: list[tuple[str, dict[str, str | None]]] = []
    if older is not None:
        links.append(("next", {"before": str(older), "after": None}))
    if newer is not None:
        links.append(
            ("prev", {"before": None, "after": str(min(newer, complete_to) if wanted.after is None else newer)})
        )
    return links


async def forget_regularly(pool: Pool, *, days: int) -> None:
    """Runs for ever: delete entries older than `days`."""
    while True:
        try:
            while await forget_entries(pool, days=days) == FORGET_ROWS:
                pass
        except DatabaseUnavailable as error:
            log.warning("audit_retention_waits", reason=str(error))
        await asyncio.sleep(FORGET_INTERVAL_S)


def _show(entry: AuditEntry) -> EntryShown:
    return {
        "audit_id": entry.audit_id,
        "changed_at": show_datetime(entry.changed_at),
        "actor": {"kind": entry.actor_kind, "id": entry.actor_id, "address": entry.address},
        "organization_id": entry.organization_id,
        "application_id": entry.application_id,
        "resource": entry.resource,
        "resource_id": entry.resource_id,
        "action": entry.action,
        "changes": entry.changes,
    }
