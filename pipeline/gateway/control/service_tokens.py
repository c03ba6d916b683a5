"""`/service_token`: tokens that act within one organization."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypedDict
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType
from uuid_utils import uuid7

from pipeline.core.events.moments import Moment, decode_moment, show_datetime
from pipeline.core.rights import UNLIMITED_ONLY, name_right
from pipeline.core.signing.sealing import NONCE_BYTES, Sealed, Sealer
from pipeline.gateway.answers import Id, Time, answer_each, answer_json, answer_nothing
from pipeline.gateway.auth import authorize
from pipeline.gateway.bodies import Form, read_form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.preconditions import IF_MATCH, add_tag, derive_tag, require_match
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import ORGANIZATION_ID, take_id, take_path_id
from pipeline.gateway.tokens import SERVICE_PREFIX, hash_token, make_token
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.service_tokens import (
    ServiceToken,
    TokenLimits,
    change_token,
    create_token,
    find_token,
    list_tokens,
    revoke_token,
)

NAME_MAX_CHARS = 50
# what people do for themselves
WITHOUT_SCOPE = frozenset(("auth", "users"))
SCOPES = web.AppKey("scopes", frozenset[str])


SCOPES_MAX, APPLICATIONS_MAX = 100, 1000
EXPIRES_MIN_US, EXPIRES_MAX_US = (
    int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000 for year in (2000, 9000)
)


class TokenForm(Form, frozen=True):
    """The body. `scopes`, `application_ids`, `expires_at`: additions of ours; null: not limited. Left out when a token
    is changed: as before.
    """

    organization_id: UUID
    name: str
    scopes: list[str] | UnsetType | None = UNSET
    application_ids: list[UUID] | UnsetType | None = UNSET
    expires_at: Moment | UnsetType | None = UNSET


_decoder = msgspec.json.Decoder(TokenForm, dec_hook=decode_moment)


class TokenShown(TypedDict):
    """A service token. `biscuit`: the token itself."""

    token_id: Id
    name: str
    biscuit: str
    created_at: Time
    scopes: list[str] | None
    application_ids: list[Id] | None
    expires_at: Time | None


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/service_token", show_all, query=(ORGANIZATION_ID,), answer=list[TokenShown]),
        Operation("POST", "/service_token", create, body=TokenForm, status=201, answer=TokenShown),
        Operation("GET", "/service_token/{token_id}", show_one, query=(ORGANIZATION_ID,), answer=TokenShown),
        Operation(
            "PUT",
            "/service_token/{token_id}",
            rename,
            body=TokenForm,
            answer=TokenShown,
            headers=(IF_MATCH,),
            problems=("PreconditionFailed",),
        ),
        Operation("DELETE", "/service_token/{token_id}", revoke, query=(ORGANIZATION_ID,), status=204),
    ]


async def show_all(request: web.Request) -> web.Response:
    """An organization's valid tokens."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    organization_id = take_id(request, "organization_id")
    await caller.require_organization(organization_id)
    found = await list_tokens(gateway.pool, organization_id)
    return await answer_each(found, lambda token: _show(token, _unseal(gateway.sealer, token)))


async def create(request: web.Request) -> web.Response:
    """Create a token, valid at every gateway from the next request on."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _decoder)
    organization_id = str(form.organization_id)
    await caller.require_organization(organization_id)
    _check(form, request.app[SCOPES])
    limits = _read_limits(form, TokenLimits())
    biscuit = make_token(SERVICE_PREFIX)
    sealed = gateway.sealer.seal(biscuit.encode(), context=organization_id, nonce=os.urandom(NONCE_BYTES))
    token = ServiceToken(
        token_id=str(uuid7()),
        organization_id=organization_id,
        token_hash=hash_token(biscuit),
        name=form.name,
        key_id=sealed.key_id,
        sealed=sealed.sealed,
        created_at=gateway.clock.now(),
        scopes=limits.scopes,
        application_ids=limits.application_ids,
        expires_at=limits.expires_at,
    )
    if not await create_token(gateway.pool, token):
        raise Problem("Forbidden")
    return answer_json(_show(token, biscuit), status=201)


async def show_one(request: web.Request) -> web.Response:
    """One token."""
    caller = await authorize(request)
    token_id, organization_id = take_path_id(request, "token_id"), take_id(request, "organization_id")
    await caller.require_organization(organization_id)
    return await _answer(request, organization_id, token_id)


async def rename(request: web.Request) -> web.Response:
    """Give a token another name or other limits: in force here at once, and within a second at every other gateway."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _decoder)
    token_id, organization_id = take_path_id(request, "token_id"), str(form.organization_id)
    await caller.require_organization(organization_id)
    _check(form, request.app[SCOPES])
    known = await find_token(gateway.pool, organization_id, token_id)
    if known is None:
        raise Problem("NotFound")
    before = TokenLimits(scopes=known.scopes, application_ids=known.application_ids, expires_at=known.expires_at)
    limits = _read_limits(form, before)
    was = (known.name, before) if require_match(request, _list_changeable(known)) else None
    if not await change_token(gateway.pool, organization_id, token_id, form.name, limits, was=was):
        raise Problem("NotFound" if was is None else "PreconditionFailed")
    gateway.tokens.service.forget(known.token_hash)
    return await _answer(request, organization_id, token_id)


async def revoke(request: web.Request) -> web.Response:
    """Revoke a token: the next request with it is refused here, and within a second at every other gateway."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    token_id, organization_id = take_path_id(request, "token_id"), take_id(request, "organization_id")
    await caller.require_organization(organization_id)
    token_hash = await revoke_token(gateway.pool, organization_id, token_id)
    if token_hash is None:
        raise Problem("NotFound")
    gateway.tokens.service.forget(token_hash)
    return answer_nothing()


async def _answer(request: web.Request, organization_id: str, token_id: str) -> web.Response:
    gateway = request.app[GATEWAY]
    token = await find_token(gateway.pool, organization_id, token_id)
    if token is None:
        raise Problem("NotFound")
    return add_tag(answer_json(_show(token, _unseal(gateway.sealer, token))), derive_tag(_list_changeable(token)))


def _list_changeable(token: ServiceToken) -> dict[str, Any]:
    return {
        "name": token.name,
        "scopes": sorted(token.scopes) if token.scopes is not None else None,
        "application_ids": token.application_ids,
        "expires_at": token.expires_at,
    }


def list_scopes(operations: Iterable[Operation]) -> frozenset[str]:
    """The rights that a token can be limited to: those of all operations, without the ones that lift limits."""
    rights = {name_right(each.method, each.path) for each in operations if not each.is_public}
    return frozenset(right for right in rights - UNLIMITED_ONLY if right.partition(":")[0] not in WITHOUT_SCOPE)


def _check(form: TokenForm, known_scopes: frozenset[str]) -> None:
    findings = Findings()
    findings.check_text("name", form.name, least=0, most=NAME_MAX_CHARS)
    if isinstance(form.scopes, list):
        unknown = sorted(set(form.scopes) - known_scopes)
        if not 1 <= len(form.scopes) <= SCOPES_MAX:
            findings.add("scopes", "scopes-size", f"there must be 1 to {SCOPES_MAX}", min=1, max=SCOPES_MAX)
        elif unknown:
            findings.add(
                "scopes", "scopes", f"there is no scope {unknown[0]!r}; there are {', '.join(sorted(known_scopes))}"
            )
    if isinstance(form.expires_at, int) and not EXPIRES_MIN_US <= form.expires_at <= EXPIRES_MAX_US:
        findings.add("expires_at", "range", "it must be in the years 2000 to 9000")
    if isinstance(form.application_ids, list) and not 1 <= len(form.application_ids) <= APPLICATIONS_MAX:
        message = f"there must be 1 to {APPLICATIONS_MAX}"
        findings.add("application_ids", "application-ids-size", message, min=1, max=APPLICATIONS_MAX)
    findings.raise_if_any()


def _read_limits(form: TokenForm, before: TokenLimits) -> TokenLimits:
    """The form's fields; those it leaves out keep their values."""
    scopes, application_ids, expires_at = form.scopes, form.application_ids, form.expires_at
    return TokenLimits(
        scopes=before.scopes if isinstance(scopes, UnsetType) else scopes,
        application_ids=before.application_ids
        if isinstance(application_ids, UnsetType)
        else ([str(each) for each in application_ids] if application_ids is not None else None),
        expires_at=before.expires_at
        if isinstance(expires_at, UnsetType)
        else (datetime.fromtimestamp(int(expires_at) / 1e6, UTC) if expires_at is not None else None),
    )


def _unseal(sealer: Sealer, token: ServiceToken) -> str:
    return sealer.unseal(Sealed(key_id=token.key_id, sealed=token.sealed), context=token.organization_id).decode()


def _show(token: ServiceToken, biscuit: str) -> TokenShown:
    return {
        "token_id": token.token_id,
        "name": token.name,
        "biscuit": biscuit,
        "created_at": show_datetime(token.created_at),
        "scopes": sorted(token.scopes) if token.scopes is not None else None,
        "application_ids": token.application_ids,
        "expires_at": show_datetime(token.expires_at) if token.expires_at is not None else None,
    }
