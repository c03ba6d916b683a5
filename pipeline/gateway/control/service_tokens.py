"""`/service_token`: tokens that act within one organization."""

import os
import secrets
from datetime import UTC, datetime
from typing import TypedDict
from uuid import UUID

import msgspec
from aiohttp import web
from uuid_utils import uuid7

from pipeline.core.moments import show_datetime
from pipeline.core.sealing import NONCE_BYTES, Sealed, Sealer
from pipeline.gateway.answers import Id, Time, answer_json, answer_nothing
from pipeline.gateway.auth import authorize
from pipeline.gateway.bodies import Form, read_form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import ORGANIZATION_ID, take_id, take_path_id
from pipeline.gateway.tokens import SERVICE_BYTES, SERVICE_PREFIX, hash_token
from pipeline.gateway.validation import Findings
from pipeline.postgres.service_tokens import (
    ServiceToken,
    create_token,
    find_token,
    list_tokens,
    rename_token,
    revoke_token,
)

NAME_MAX_CHARS = 50


class TokenForm(Form, frozen=True):
    """The body."""

    organization_id: UUID
    name: str


_decoder = msgspec.json.Decoder(TokenForm)


class TokenShown(TypedDict):
    """A service token. `biscuit`: the token itself."""

    token_id: Id
    name: str
    biscuit: str
    created_at: Time


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/service_token", show_all, query=(ORGANIZATION_ID,), answer=list[TokenShown]),
        Operation("POST", "/service_token", create, body=TokenForm, status=201, answer=TokenShown),
        Operation("GET", "/service_token/{token_id}", show_one, query=(ORGANIZATION_ID,), answer=TokenShown),
        Operation("PUT", "/service_token/{token_id}", rename, body=TokenForm, answer=TokenShown),
        Operation("DELETE", "/service_token/{token_id}", revoke, query=(ORGANIZATION_ID,), status=204),
    ]


async def show_all(request: web.Request) -> web.Response:
    """An organization's valid tokens."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    organization_id = take_id(request, "organization_id")
    caller.require_organization(organization_id)
    found = await list_tokens(gateway.pool, organization_id)
    return answer_json([_show(token, _unseal(gateway.sealer, token)) for token in found])


async def create(request: web.Request) -> web.Response:
    """A new token, valid at every gateway from the next request on."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _decoder)
    organization_id = str(form.organization_id)
    caller.require_organization(organization_id)
    _check(form)
    biscuit = SERVICE_PREFIX + secrets.token_urlsafe(SERVICE_BYTES)
    sealed = gateway.sealer.seal(biscuit.encode(), context=organization_id, nonce=os.urandom(NONCE_BYTES))
    token = ServiceToken(
        token_id=str(uuid7()),
        organization_id=organization_id,
        token_hash=hash_token(biscuit),
        name=form.name,
        key_id=sealed.key_id,
        sealed=sealed.sealed,
        created_at=datetime.now(UTC),
    )
    if not await create_token(gateway.pool, token):
        raise Problem("Forbidden")
    return answer_json(_show(token, biscuit), status=201)


async def show_one(request: web.Request) -> web.Response:
    """One token."""
    caller = await authorize(request)
    token_id, organization_id = take_path_id(request, "token_id"), take_id(request, "organization_id")
    caller.require_organization(organization_id)
    return answer_json(await _find_shown(request, organization_id, token_id))


async def rename(request: web.Request) -> web.Response:
    """Another name for it."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _decoder)
    token_id, organization_id = take_path_id(request, "token_id"), str(form.organization_id)
    caller.require_organization(organization_id)
    _check(form)
    if not await rename_token(gateway.pool, organization_id, token_id, form.name):
        raise Problem("NotFound")
    return answer_json(await _find_shown(request, organization_id, token_id))


async def revoke(request: web.Request) -> web.Response:
    """Revoke it: the next request with it is refused here, and within a second at every other gateway."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    token_id, organization_id = take_path_id(request, "token_id"), take_id(request, "organization_id")
    caller.require_organization(organization_id)
    token_hash = await revoke_token(gateway.pool, organization_id, token_id)
    if token_hash is None:
        raise Problem("NotFound")
    gateway.tokens.service.forget(token_hash)
    return answer_nothing()


async def _find_shown(request: web.Request, organization_id: str, token_id: str) -> TokenShown:
    gateway = request.app[GATEWAY]
    token = await find_token(gateway.pool, organization_id, token_id)
    if token is None:
        raise Problem("NotFound")
    return _show(token, _unseal(gateway.sealer, token))


def _check(form: TokenForm) -> None:
    findings = Findings()
    findings.check_text("name", form.name, most=NAME_MAX_CHARS)
    findings.raise_if_any()


def _unseal(sealer: Sealer, token: ServiceToken) -> str:
    return sealer.unseal(Sealed(key_id=token.key_id, sealed=token.sealed), context=token.organization_id).decode()


def _show(token: ServiceToken, biscuit: str) -> TokenShown:
    return {
        "token_id": token.token_id,
        "name": token.name,
        "biscuit": biscuit,
        "created_at": show_datetime(token.created_at),
    }
