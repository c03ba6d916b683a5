"""The API's document says what the gateway serves, reads and answers."""

import re
from typing import Any

import msgspec
import pytest

from pipeline.gateway.documents import render
from pipeline.gateway.openapi import describe_api
from pipeline.gateway.operations import JSON, Operation
from pipeline.gateway.problems import CONTENT_TYPE, PROBLEMS
from pipeline.gateway.server import API_PATH, list_operations
from tests.unit.contracts.repository import list_files, name

OPERATIONS = list_operations()
DOCUMENT = describe_api(OPERATIONS, base_path=API_PATH)
# raised where no operation is: a path that does not exist, another method, a head that does not arrive
BEYOND_OPERATIONS = frozenset({"MethodNotAllowed"})

operations = pytest.mark.parametrize("operation", OPERATIONS, ids=[each.name for each in OPERATIONS])


def find_described(operation: Operation) -> Any:
    """The operation's part of the document."""
    return DOCUMENT["paths"][operation.path][operation.method.lower()]


def list_problems(described: Any) -> set[str]:
    """The ids that the document names."""
    contents = [answer.get("content", {}).get(CONTENT_TYPE) for answer in described["responses"].values()]
    return {
        each for content in contents if content for each in content["schema"]["allOf"][1]["properties"]["id"]["enum"]
    }


@operations
def test_an_operation_is_described_whole(operation: Operation) -> None:
    """An operation has its parameters, body, answer, every problem at its status, and whether it asks for a token."""
    described = find_described(operation)
    listed = {(each["in"], each["name"], each["required"]) for each in described["parameters"]}
    in_path = {("path", each, True) for each in re.findall(r"{(\w+)}", operation.path)}
    in_query = {("query", each.name, each.is_required) for each in operation.query}
    in_headers = {("header", each.name, each.is_required) for each in operation.headers}
    statuses = {operation.status, *(status for status, _ in operation.other_answers)}
    problem_ids = {each for each in operation.list_problem_ids() if PROBLEMS[each].status not in statuses}

    assert in_path | in_query | in_headers == listed
    assert ("requestBody" in described) == (operation.body is not None)
    assert ("content" in described["responses"][str(operation.status)]) == (operation.answer is not None)
    assert problem_ids == list_problems(described)
    assert {str(PROBLEMS[each].status) for each in problem_ids} <= described["responses"].keys()
    assert (described.get("security") == []) == operation.is_public
    assert described["summary"].strip()


@operations
def test_the_described_body_is_the_one_that_is_read(operation: Operation) -> None:
    """A handler's decoder has the type that the document shows."""
    handler: Any = operation.handler
    decoders = [handler.__globals__.get(each) for each in handler.__code__.co_names]
    read = {each.type for each in decoders if isinstance(each, msgspec.json.Decoder)}

    # other formats have readers of their own
    assert read == ({operation.body} if operation.body is not None and operation.body_types == (JSON,) else set())


def test_an_operation_has_a_name_of_its_own() -> None:
    """Generated clients make functions of these."""
    names = [find_described(operation)["operationId"] for operation in OPERATIONS]

    assert len(OPERATIONS) == len(set(names))


def test_every_problem_that_is_raised_belongs_to_an_operation() -> None:
    """Each id in the gateway's code stands in the document."""
    raised = {
        problem
        for path in list_files()
        if name(path).startswith("pipeline/gateway/")
        for problem in re.findall(r"Problem\(\s*\"(\w+)\"", path.read_text())
    }
    described = {each for operation in OPERATIONS for each in operation.list_problem_ids()}

    assert raised - described == BEYOND_OPERATIONS


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """The page names every operation, and loads no script, style, font or picture."""
    page = render(DOCUMENT)

    assert all(f"{each.method} {API_PATH}{each.path}" in page for each in OPERATIONS)
    assert not re.search(r"<(script|link|img|iframe)|src=|url\(|@import", page)
