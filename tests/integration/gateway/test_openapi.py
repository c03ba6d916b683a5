"""The API's document, against the gateway that serves it."""

import pytest

from pipeline.gateway.openapi import describe_api
from pipeline.gateway.server import API_PATH, list_operations
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_the_document_is_served_to_anybody(stack: Stack) -> None:
    """The document is served at both of its addresses, and as a page."""
    document = describe_api(list_operations(), base_path=API_PATH)
    for path in ("/swagger.json", "/openapi.json"):
        reply = await stack.api.call("GET", path, headers={})

        assert document == reply.json
    page = await stack.api.call("GET", "/docs", headers={})

    assert 200 == page.status
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "rotate_secret" in page.text
