"""Requests made from the API's own document, right and wrong ones, are answered as the document says."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.support.api import Space
from tests.support.stack import MASTER_KEY, Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
# After so long a run ends by itself: on a busy machine it has seen fewer examples by then, and on an idle one it begins
# again with others until then. `TIMEOUT_S` is for one that hangs.
TIME_MAX_S = 90
TIMEOUT_S = 600
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "ignored_auth",
)
# after a DELETE nothing is read, and what was just created is there
STATEFUL_CHECKS = (*CHECKS, "use_after_free", "ensure_resource_availability")
# An event type of the same name is another one in another application; a user may be no member of a new organization.
EXCEPTIONS = (
    "[[operations]]",
    'include-path-regex = "^/event_types/"',
    "checks.use_after_free.enabled = false",
    # a part of a JSON payload has its type, and is no JSON
    "[[operations]]",
    'include-path = "/events/{event_id}/payload"',
    "checks.response_schema_conformance.enabled = false",
    "[[operations]]",
    'include-path = "/organizations/{organization_id}/invite"',
    "checks.ensure_resource_availability.enabled = false",
)


async def run_schemathesis(
    stack: Stack, folder: Path, *options: str, checks: tuple[str, ...], known: dict[str, str]
) -> tuple[int | None, str]:
    """Run schemathesis; exit code and output. `known`: parameters that have one value."""
    config = folder / "schemathesis.toml"
    lines = [f'"{name}" = {json.dumps(value)}' for name, value in known.items()]
    # checks that the command line names are made of every operation
    chosen = ["[checks]", "enabled = false", *(f"{name}.enabled = true" for name in checks)]
    config.write_text("\n".join(["[parameters]", *lines, *chosen, *EXCEPTIONS, ""]))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", f"{stack.api.url}/swagger.json", *options),
        *("--seed", "1", "--header", f"Authorization: Bearer {MASTER_KEY}"),
        *("--generation-deterministic", "--no-color", "--max-time", str(TIME_MAX_S), "--request-timeout", "60"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
    )
    async with asyncio.timeout(TIMEOUT_S):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


async def make_known(stack: Stack, space: Space) -> dict[str, str]:
    """Ids that exist."""
    return {
        "query.application_id": space.application_id,
        "query.organization_id": space.organization_id,
        "path.event_id": await stack.api.send(space, TYPE),
    }


async def test_nothing_is_answered_that_the_document_does_not_say(stack: Stack, tmp_path: Path) -> None:
    """Statuses, content types, headers and bodies are the document's; a token is asked for where it says so."""
    known = await make_known(stack, await stack.api.make_space(TYPE))
    options = ("--phases", "coverage,fuzzing", "--max-examples", "3", "--workers", "2")
    code, output = await run_schemathesis(stack, tmp_path, *options, checks=CHECKS, known=known)

    assert 0 == code, output


async def test_requests_that_follow_from_each_other(stack: Stack, tmp_path: Path) -> None:
    """Requests take values from earlier answers: objects are made, read, changed, deleted, and read again."""
    options = ("--phases", "stateful", "--max-examples", "10")
    code, output = await run_schemathesis(stack, tmp_path, *options, checks=STATEFUL_CHECKS, known={})

    assert 0 == code, output
