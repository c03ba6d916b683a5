"""`/application_secrets`: tokens that act within one application."""

import os
from datetime import datetime
from typing import TypedDict
from uuid import UUID, uuid4

import msgspec
from aiohttp import web

from pipeline.core.events.moments import show_datetime
from pipeline.core.signing.sealing import NONCE_BYTES, Sealed, Sealer
from pipeline.gateway.answers import Id, Time, answer_each, answer_json, answer_nothing
from pipeline.gateway.auth import authorize, read_own_form
from pipeline.gateway.bodies import Form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import APPLICATION_ID, take_application_id, take_path_id
from pipeline.gateway.tokens import hash_token
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.application_secrets import (
    ApplicationSecret,
    create_secret,
    list_secrets,
    rename_secret,
    revoke_secret,
)

NAME_MAX_CHARS = 50


class SecretForm(Form, frozen=True):
    """The body."""

    application_id: UUID
    name: str | None = None


_decoder = msgspec.json.Decoder(SecretForm)


class SecretShown(TypedDict):
    """An application secret. `token`: the secret itself."""

    name: str | None
    token: Id
    created_at: Time
    deleted_at: Time | None


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/application_secrets", show_all, query=(APPLICATION_ID,), answer=list[SecretShown]),
        Operation("POST", "/application_secrets", create, body=SecretForm, status=201, answer=SecretShown),
        Operation("PUT", "/application_secrets/{token}", rename, body=SecretForm, answer=SecretShown),
        Operation("DELETE", "/application_secrets/{token}", revoke, query=(APPLICATION_ID,), status=204),
    ]


async def show_all(request: web.Request) -> web.Response:
    """An application's valid secrets."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    await caller.require_application(application_id)
    found = await list_secrets(gateway.pool, application_id)
    return await answer_each(
        found, lambda secret: _show(secret.name, _unseal(gateway.sealer, secret), secret.created_at)
    )


async def create(request: web.Request) -> web.Response:
    """A new secret, valid at every gateway from the next request on."""
    gateway = request.app[GATEWAY]
    _, form, application_id = await read_own_form(request, _decoder)
    _check(form)
    gateway.publisher.require_log()
    token = str(uuid4())
    sealed = gateway.sealer.seal(token.encode(), context=application_id, nonce=os.urandom(NONCE_BYTES))
    secret = ApplicationSecret(
        token_hash=hash_token(token),
        application_id=application_id,
        name=form.name,
        key_id=sealed.key_id,
        sealed=sealed.sealed,
        created_at=gateway.clock.now(),
    )
    if not await create_secret(gateway.pool, secret):
        raise Problem("Forbidden")
    await gateway.publisher.publish(application_id)
    return answer_json(_show(secret.name, token, secret.created_at), status=201)


async def rename(request: web.Request) -> web.Response:
    """Give a secret another name."""
    gateway, token = request.app[GATEWAY], take_path_id(request, "token")
    _, form, application_id = await read_own_form(request, _decoder)
    _check(form)
    created_at = await rename_secret(gateway.pool, application_id, hash_token(token), form.name)
    if created_at is None:
        raise Problem("NotFound")
    return answer_json(_show(form.name, token, created_at))


async def revoke(request: web.Request) -> web.Response:
    """Revoke a secret: the next request with it is refused."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    token, application_id = take_path_id(request, "token"), take_application_id(request)
    await caller.require_application(application_id)
    gateway.publisher.require_log()
    is_revoked = await revoke_secret(gateway.pool, application_id, hash_token(token))
    await gateway.publisher.publish(application_id)
    if not is_revoked:
        raise Problem("NotFound")
    return answer_nothing()


def _check(form: SecretForm) -> None:
    findings = Findings()
    if form.name is not None:
        findings.check_text("name", form.name, least=0, most=NAME_MAX_CHARS)
    findings.raise_if_any()


def _unseal(sealer: Sealer, secret: ApplicationSecret) -> str:
    sealed = Sealed(key_id=secret.key_id, sealed=secret.sealed)
    return sealer.unseal(sealed, context=secret.application_id).decode()


def _show(name: str | None, token: str, created_at: datetime) -> SecretShown:
    return {"name": name, "token": token, "created_at": show_datetime(created_at), "deleted_at": None}
