"""Requests made from the API's own document, right and wrong ones, are answered as the document says."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.support.stack import MASTER_KEY, Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
EXAMPLES = 3  # for each operation and phase
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


async def test_nothing_is_answered_that_the_document_does_not_say(stack: Stack, tmp_path: Path) -> None:
    """Statuses, content types, headers and bodies are the document's; a token is asked for where it says so."""
    space = await stack.api.make_space(TYPE)
    event_id = await stack.api.send(space, TYPE)
    known = {
        "query.application_id": space.application_id,
        "query.organization_id": space.organization_id,
        "path.event_id": event_id,
    }
    lines = [f'"{name}" = {json.dumps(value)}' for name, value in known.items()]
    config = tmp_path / "schemathesis.toml"
    config.write_text("\n".join(["[parameters]", *lines, ""]))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", f"{stack.api.url}/swagger.json", "--checks", ",".join(CHECKS)),
        *("--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1", "--workers", "2"),
        *("--header", f"Authorization: Bearer {MASTER_KEY}", "--generation-database", "none", "--no-color"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
    )
    async with asyncio.timeout(TIMEOUT_S):
        output, _ = await process.communicate()

    assert 0 == process.returncode, output.decode()
