"""The API's document, OpenAPI 3.1, built from the operations that the gateway serves and its types of bodies.

Nothing here is written for a single operation: its `Operation` says what its handler reads, answers and refuses.
"""

import inspect
import re
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from pipeline.core.events.moments import Moment
from pipeline.gateway.operations import Operation, Parameter
from pipeline.gateway.problems import CONTENT_TYPE, PROBLEMS, ProblemShown

REFERENCE = "#/components/schemas/{name}"
TEMPLATED = re.compile(r"{(\w+)}")
PATH_TEXTS = frozenset({"name"})  # members of paths that are no UUID
# problems that have another status than their kind's in some cases
OTHER_STATUSES = {"JsonPayload": (413,)}


def describe_api(operations: Sequence[Operation], *, base_path: str) -> dict[str, Any]:
    """The document."""
    types = [kind for each in operations for kind in _list_types(each)]
    shown, components = msgspec.json.schema_components(
        (*types, ProblemShown), schema_hook=_show_own, ref_template=REFERENCE
    )
    schemas = iter(shown)
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        body = next(schemas) if operation.body is not None else None
        answers = {status: next(schemas) if kind is not None else None for status, kind in _list_answers(operation)}
        paths[operation.path][operation.method.lower()] = _describe(operation, body, answers, shown[-1])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hookline",
            "version": version("hookline"),
            "description": "Webhooks as a service on a Kafka log. Clients of Hook0's API work unchanged.",
        },
        "servers": [{"url": base_path}],
        "security": [{"token": []}],
        "paths": dict(paths),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An application secret, a service token or the master key.",
                }
            },
        },
    }


def _describe(
    operation: Operation,
    body: dict[str, Any] | None,
    answers: dict[int, dict[str, Any] | None],
    problem: dict[str, Any],
) -> dict[str, Any]:
    summary, _, more = (inspect.getdoc(operation.handler) or operation.name).partition("\n")
    described: dict[str, Any] = {
        "operationId": _name_operation(operation),
        "summary": summary,
        "tags": [operation.path.split("/")[1]],
        "parameters": [
            *(_describe_path(name) for name in TEMPLATED.findall(operation.path)),
            *(_describe_parameter(each, "query") for each in operation.query),
            *(_describe_parameter(each, "header") for each in operation.headers),
        ],
        "responses": _describe_answers(operation, answers) | _describe_problems(operation, problem),
    }
    if more.strip():
        described["description"] = more.strip()
    if body is not None:
        content = {name: {"schema": body} for name in operation.body_types}
        described["requestBody"] = {"required": True, "content": content}
    if operation.is_public:
        described["security"] = []
    return described


def _list_answers(operation: Operation) -> list[tuple[int, Any]]:
    return [(operation.status, operation.answer), *operation.other_answers]


def _list_types(operation: Operation) -> list[Any]:
    """The types in the order of their description: the body, and each answer."""
    return [kind for kind in (operation.body, *(kind for _, kind in _list_answers(operation))) if kind is not None]


def _describe_answers(operation: Operation, answers: dict[int, dict[str, Any] | None]) -> dict[str, Any]:
    found = {}
    for status, answer in answers.items():
        described: dict[str, Any] = {"description": "Done." if status < 300 else "Not so."}
        if answer is not None:
            described["content"] = {name: {"schema": answer} for name in operation.answer_types}
        found[str(status)] = described
    return found


def _describe_problems(operation: Operation, problem: dict[str, Any]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = defaultdict(list)
    for problem_id in sorted(operation.list_problem_ids()):
        for status in (PROBLEMS[problem_id].status, *OTHER_STATUSES.get(problem_id, ())):
            by_status[status].append(problem_id)
    found: dict[str, Any] = {}
    for status, ids in sorted(by_status.items()):
        if status in dict(_list_answers(operation)):
            continue  # said already: /health tells by its status
        found[str(status)] = {
            "description": " ".join(f"`{each}`: {PROBLEMS[each].title}." for each in ids),
            "content": {
                CONTENT_TYPE: {"schema": {"allOf": [problem, {"properties": {"id": {"enum": ids}}}]}},
            },
        }
        if status in (429, 503):
            found[str(status)]["headers"] = {"Retry-After": {"schema": {"type": "string"}}}
    return found


def _describe_path(name: str) -> dict[str, Any]:
    schema = {"type": "string"} if name in PATH_TEXTS else {"type": "string", "format": "uuid"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _describe_parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": place,
        "required": parameter.is_required,
        "schema": parameter.schema,
        "description": parameter.meaning,
    }


def _name_operation(operation: Operation) -> str:
    """`subscriptions.rotate_secret.post`: unique, since method and path are."""
    return ".".join([*TEMPLATED.sub(r"by_\1", operation.path).strip("/").split("/"), operation.method.lower()])


def _show_own(kind: type) -> dict[str, Any]:
    if kind is Moment:
        return {"type": "string", "format": "date-time"}
    raise NotImplementedError(kind)
