"""The rights of tokens, and their scope. Pure.

A right is `<first part of the path>:<what>`, `subscriptions:read` for example: `read` for GET and HEAD, `write` for the
rest, `ingest` for sending events. Within an organization a user is a viewer or an editor; a service token is an editor
whose scopes, applications and time can be limited; an application secret may do everything within its application.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

READ, WRITE, INGEST = "events:read", "events:write", "events:ingest"
INGEST_PATHS = frozenset(("/event", "/events", "/cloudevents"))
READING = frozenset(("GET", "HEAD"))
# for editors only: secrets, with which a viewer could act with more rights, and the audit log
SECRET_RESOURCES = frozenset(("application_secrets", "service_token", "audit_log"))
# who could use these could make a token without limits
UNLIMITED_ONLY = frozenset(("service_token:read", "service_token:write", "organizations:write"))


class Role(StrEnum):
    """The role of a user in an organization."""

    VIEWER = "viewer"
    EDITOR = "editor"


def name_right(method: str, path: str) -> str:
    """The right that a request needs. `path`: below the API's base, with its parameters' names."""
    resource = path.strip("/").partition("/")[0]
    if method == "POST" and path in INGEST_PATHS:
        return INGEST
    return f"{resource}:{'read' if method in READING else 'write'}"


def may_viewer(right: str) -> bool:
    """Viewers read everything but secrets."""
    resource, _, what = right.partition(":")
    return what == "read" and resource not in SECRET_RESOURCES


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a service token; None: not limited."""

    scopes: frozenset[str] | None = None
    application_ids: frozenset[str] | None = None

    def allow(self, right: str, application_id: str | None) -> bool:
        """`application_id` None: what is asked for is not within one application."""
        if right in UNLIMITED_ONLY:
            return False
        if self.application_ids is not None and application_id not in self.application_ids:
            return False
        return self.scopes is None or right in self.scopes


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The author of a change. `kind`: user, service_token, application_secret, master_key."""

    kind: str
    actor_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The rights of a token. `application_id`: of an application secret; everything within it, and nothing beyond.

    `roles`: by organization, of service tokens and users. `token_hash`: of a token that PostgreSQL was asked about.
    `expires_at_s`: since the epoch.
    """

    actor: Actor
    application_id: str | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)
    limits: Limits | None = None
    token_hash: bytes | None = None
    expires_at_s: float = math.inf

    @property
    def user_id(self) -> str | None:
        return self.actor.actor_id if self.actor.kind == "user" else None

    def allows(self, right: str, organization_id: str, application_id: str | None = None) -> bool:
        """Is this allowed within this organization, or within this application of it?"""
        role = self.roles.get(organization_id)
        if role is None or (role is Role.VIEWER and not may_viewer(right)):
            return False
        return self.limits is None or self.limits.allow(right, application_id)
