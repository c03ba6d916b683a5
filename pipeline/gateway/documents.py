"""`GET /swagger.json`, `/openapi.json`, `/docs`: the API's document, and a page of it without outside resources."""

from collections.abc import Sequence
from html import escape
from typing import Any

import orjson
from aiohttp import web

from pipeline.gateway.openapi import describe_api
from pipeline.gateway.operations import Operation

DOCUMENT = web.AppKey("document", bytes)
PAGE = web.AppKey("page", str)
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{font-family:ui-monospace,monospace}h2{font-size:1.1rem;border-top:1px solid #ccc;padding-top:1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/swagger.json", show_document, answer=dict[str, Any], is_public=True),
        Operation("GET", "/openapi.json", show_document, answer=dict[str, Any], is_public=True),
        Operation("GET", "/docs", show_page, answer=str, answer_types=("text/html",), is_public=True),
    ]


def add_document(app: web.Application, operations: Sequence[Operation], *, base_path: str) -> None:
    """Make the documents once: operations do not change while a gateway runs."""
    document = describe_api(operations, base_path=base_path)
    app[DOCUMENT] = orjson.dumps(document)
    app[PAGE] = render(document)


async def show_document(request: web.Request) -> web.Response:
    """The API's document: OpenAPI 3.1."""
    return web.Response(body=request.app[DOCUMENT], content_type="application/json")


async def show_page(request: web.Request) -> web.Response:
    """The document as a page to read."""
    headers = {"Content-Security-Policy": POLICY}
    return web.Response(text=request.app[PAGE], content_type="text/html", headers=headers)


def render(document: dict[str, Any]) -> str:
    """The document as HTML."""
    base = document["servers"][0]["url"]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Hookline API</title>",
        f"<style>{STYLE}</style></head><body><h1>Hookline API</h1>",
        f"<p>{escape(document['info']['description'])} The same as <a href='openapi.json'>OpenAPI 3.1</a>.</p>",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(
                f"<h2 id='{escape(operation['operationId'])}'><code>{method.upper()} {escape(base + path)}</code></h2>"
            )
            parts.append(f"<p>{escape(operation['summary'])}</p>")
            parts.append(_render_parameters(operation["parameters"]))
            if "requestBody" in operation:
                parts.append(f"<p>Body: {_link_schemas(operation['requestBody']['content'])}</p>")
            rows = "".join(
                f"<tr><td>{status}</td><td>{escape(answer['description'])}</td>"
                f"<td>{_link_schemas(answer.get('content', {}))}</td></tr>"
                for status, answer in operation["responses"].items()
            )
            parts.append(f"<table>{rows}</table>")
    for name, schema in document["components"]["schemas"].items():
        text = orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
        parts.append(f"<h2 id='schema-{escape(name)}'>{escape(name)}</h2><pre><code>{escape(text)}</code></pre>")
    return "".join([*parts, "</body></html>"])


def _render_parameters(parameters: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{each['in']}</td>"
        f"<td>{'required' if each['required'] else ''}</td><td>{escape(each.get('description', ''))}</td></tr>"
        for each in parameters
    )
    return f"<table>{rows}</table>" if rows else ""


def _link_schemas(content: dict[str, Any]) -> str:
    names = sorted({name for each in content.values() for name in _find_references(each) if name != "ProblemShown"})
    return ", ".join(f"<a href='#schema-{escape(name)}'>{escape(name)}</a>" for name in names)


def _find_references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"].rpartition("/")[2]] if "$ref" in node else []
        return own + [name for inner in node.values() for name in _find_references(inner)]
    if isinstance(node, list):
        return [name for inner in node for name in _find_references(inner)]
    return []
