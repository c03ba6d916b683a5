"""Public facts about the API: its limits, its errors, the payload types that it accepts."""

from typing import Any, TypedDict

from aiohttp import web

from pipeline.config import PREFIX, Settings
from pipeline.core.events.content_types import CONTENT_TYPES
from pipeline.gateway.answers import answer_json
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import ProblemShown, list_problems
from pipeline.gateway.reads.queries import declare_text, take
from pipeline.setting_rows import list_rows

UNLIMITED = 2_147_483_647
ALL = declare_text("all", "`true`: also problems that Hook0 does not know.")


class VariableShown(TypedDict):
    """A setting, without what it is set to."""

    name: str
    env_var: str
    description: str
    default: str | None
    sensitive: bool
    required: bool
    group: str


class InstanceShown(TypedDict):
    """The first request of a dashboard: what this instance offers."""

    biscuit_public_key: str
    registration_disabled: bool
    password_minimum_length: int
    auto_db_migration: bool
    application_secret_compatibility: bool
    quota_enforcement: bool
    matomo: dict[str, Any] | None
    formbricks: dict[str, Any] | None
    support_email_address: str | None
    cloudflare_turnstile_site_key: str | None


class LimitsShown(TypedDict):
    """Limits of the instance; 2147483647: not limited."""

    global_members_per_organization_limit: int
    global_applications_per_organization_limit: int
    global_events_per_day_limit: int
    global_days_of_events_retention_limit: int
    global_subscriptions_per_application_limit: int
    global_event_types_per_application_limit: int


class InstanceQuotas(TypedDict):
    """Whether quotas are on, and their values."""

    enabled: bool
    limits: LimitsShown


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/environment_variables", show_variables, answer=list[VariableShown], is_public=True),
        Operation("GET", "/errors", show_errors, query=(ALL,), answer=list[ProblemShown], is_public=True),
        Operation("GET", "/instance", show_instance, answer=InstanceShown, is_public=True),
        Operation("GET", "/payload_content_types", show_content_types, answer=list[str], is_public=True),
        Operation("GET", "/quotas", show_quotas, answer=InstanceQuotas, is_public=True),
    ]


async def show_errors(request: web.Request) -> web.Response:
    """The catalogue of problems: Hook0's, which its clients can read; with `all=true` ours as well."""
    return answer_json(list_problems(with_own=take(request, "all") == "true"))


async def show_variables(_: web.Request) -> web.Response:
    """Every setting with its default. The values of this instance are never shown."""
    return answer_json(
        [
            {
                "name": row.variable.removeprefix(PREFIX).lower(),
                "env_var": row.variable,
                "description": row.meaning,
                "default": None if row.is_secret else row.default,
                "sensitive": row.is_secret,
                "required": False,  # each has a default, or can be left out where it is not used
                "group": row.section.rstrip("."),
            }
            for row in list_rows(Settings(), frozenset())
        ]
    )


async def show_content_types(_: web.Request) -> web.Response:
    """The content types of payloads."""
    return answer_json(list(CONTENT_TYPES))


async def show_instance(request: web.Request) -> web.Response:
    """The facts that a dashboard asks for first."""
    config = request.app[GATEWAY].settings.accounts
    return answer_json(
        {
            "biscuit_public_key": "",
            "registration_disabled": not config.registration,
            "password_minimum_length": config.password_min_chars,
            "auto_db_migration": False,
            "application_secret_compatibility": True,
            "quota_enforcement": request.app[GATEWAY].settings.quotas.are_on,
            "matomo": None,
            "formbricks": None,
            "support_email_address": config.support_email,
            "cloudflare_turnstile_site_key": None,
        }
    )


async def show_quotas(request: web.Request) -> web.Response:
    """Limits of this instance."""
    settings = request.app[GATEWAY].settings
    quotas = settings.quotas
    limits = {
        "global_members_per_organization_limit": quotas.members_per_organization,
        "global_applications_per_organization_limit": quotas.applications_per_organization,
        "global_events_per_day_limit": quotas.events_per_day,
        "global_days_of_events_retention_limit": settings.archive.retention_days if quotas.are_on else None,
        "global_subscriptions_per_application_limit": settings.gateway.subscriptions_max,
        "global_event_types_per_application_limit": quotas.event_types_per_application,
    }
    return answer_json({"enabled": quotas.are_on, "limits": {name: show_limit(each) for name, each in limits.items()}})


def show_limit(limit: int | None) -> int:
    """A limit as clients know it."""
    return UNLIMITED if limit is None else limit
