"""`GET`, `PUT /event_types/{name}`: an event type with the JSON Schema of its payloads, and an example of them."""

from typing import Any, TypedDict
from uuid import UUID

import msgspec
from aiohttp import web

from pipeline.core.events.content_types import JSON_TYPE
from pipeline.core.events.json_text import find_json_problem
from pipeline.core.events.moments import show_moment, to_us
from pipeline.core.routing.payload_schema import TEXT_MAX_BYTES, Mode, PayloadSchema, PayloadSchemaError, read_schema
from pipeline.gateway.answers import Time, answer_json
from pipeline.gateway.auth import authorize, read_own_form
from pipeline.gateway.bodies import Form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.control.event_types import EventTypeShown, show_event_type
from pipeline.gateway.operations import Operation
from pipeline.gateway.preconditions import IF_MATCH, add_tag, derive_tag, require_match
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import APPLICATION_ID, take_application_id
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.event_type_schemas import Contract, change_contract, find_contract, list_schemas


class ContractForm(Form, frozen=True):
    """The body. `schema_mode`: what becomes of payloads that do not fit. `example`: a payload, JSON as a text."""

    application_id: UUID
    payload_schema: dict[str, Any] | bool | None = None
    schema_mode: Mode = "off"
    example: str | None = None


_decoder = msgspec.json.Decoder(ContractForm)


class ContractShown(EventTypeShown):
    """An event type. `schema_version`: 0 without a schema; another schema than before is a new version."""

    schema_mode: Mode
    schema_version: int
    payload_schema: dict[str, Any] | bool | None
    example: str | None


class SchemaShown(TypedDict):
    """A schema that it has, or had."""

    schema_version: int
    payload_schema: dict[str, Any] | bool
    created_at: Time


def list_routes() -> list[Operation]:
    path = "/event_types/{name}"
    return [
        Operation("GET", path, show_one, query=(APPLICATION_ID,), answer=ContractShown),
        Operation(
            "PUT",
            path,
            change,
            body=ContractForm,
            answer=ContractShown,
            headers=(IF_MATCH,),
            problems=("PreconditionFailed",),
        ),
        Operation("GET", f"{path}/schemas", show_schemas, query=(APPLICATION_ID,), answer=list[SchemaShown]),
    ]


async def show_one(request: web.Request) -> web.Response:
    """One active event type."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    await caller.require_application(application_id)
    return _answer(await find_contract(gateway.pool, application_id, request.match_info["name"]))


async def change(request: web.Request) -> web.Response:
    """Set schema, mode and example. The next event is checked against it."""
    gateway, name = request.app[GATEWAY], request.match_info["name"]
    _, form, application_id = await read_own_form(request, _decoder)
    findings = Findings()
    text = None if form.payload_schema is None else msgspec.json.encode(form.payload_schema).decode()
    schema = _read(findings, text) if text is not None else None
    if text is None and form.schema_mode != "off":
        findings.add("payload_schema", "schema", f"there must be one to {form.schema_mode}")
    if form.example is not None:
        _check_example(findings, form.example, schema)
    findings.raise_if_any()
    gateway.publisher.require_log()
    present = await find_contract(gateway.pool, application_id, name)
    if present is None:
        raise Problem("NotFound")
    was = present if require_match(request, _list_changeable(present)) else None
    is_changed = await change_contract(
        gateway.pool, application_id, name, mode=form.schema_mode, schema=text, example=form.example, was=was
    )
    await gateway.publisher.publish(application_id)
    if not is_changed:
        raise Problem("NotFound" if was is None else "PreconditionFailed")
    return _answer(await find_contract(gateway.pool, application_id, name))


async def show_schemas(request: web.Request) -> web.Response:
    """The schemas that it has and had, newest first; 100 are kept."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id, name = take_application_id(request), request.match_info["name"]
    await caller.require_application(application_id)
    if await find_contract(gateway.pool, application_id, name) is None:
        raise Problem("NotFound")
    shown: list[SchemaShown] = [
        {
            "schema_version": each.version,
            "payload_schema": msgspec.json.decode(each.schema),
            "created_at": show_moment(to_us(each.created_at)),
        }
        for each in await list_schemas(gateway.pool, application_id, name)
    ]
    return answer_json(shown)


def _read(findings: Findings, text: str) -> PayloadSchema | None:
    try:
        return read_schema(text)
    except PayloadSchemaError as error:
        findings.add("payload_schema", "schema", f"it {error}")
    return None


def _check_example(findings: Findings, example: str, schema: PayloadSchema | None) -> None:
    payload = example.encode()
    problem = f"has more than {TEXT_MAX_BYTES} bytes" if len(payload) > TEXT_MAX_BYTES else find_json_problem(payload)
    if problem is None and schema is not None:
        problem = schema.find_problem(payload, JSON_TYPE)
    if problem is not None:
        findings.add("example", "example", f"it {problem}")


def _answer(contract: Contract | None) -> web.Response:
    """The event type. Raises `Problem` when there is none."""
    if contract is None:
        raise Problem("NotFound")
    return add_tag(answer_json(_show(contract)), derive_tag(_list_changeable(contract)))


def _list_changeable(contract: Contract) -> dict[str, Any]:
    # with the version: a schema that was another one in between is told apart
    return {"mode": contract.mode, "version": contract.version, "example": contract.example}


def _show(found: Contract) -> ContractShown:
    return {
        **show_event_type(found.event_type),
        "schema_mode": found.mode,
        "schema_version": found.version,
        "payload_schema": msgspec.json.decode(found.schema) if found.schema is not None else None,
        "example": found.example,
    }
