"""Writes pipeline/client/models.py and client.py from the API's document. `make docs` runs it; a unit test compares."""

import builtins
import keyword
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.gateway.openapi import describe_api
from pipeline.gateway.server import API_PATH, list_operations

FOLDER = Path(__file__).resolve().parents[1] / "pipeline" / "client"
WRITTEN = "Written by `make docs` from the API's document; change the gateway's operations."
JSON_TYPE = "application/json"
SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
TEMPLATED = re.compile(r"{(\w+)}")


def render_models(document: dict[str, Any]) -> str:
    """models.py: a type for each component of the document."""
    lines = [f'"""Bodies and answers. {WRITTEN}"""', "", "from __future__ import annotations", ""]
    lines += ["from typing import Any, Literal, NotRequired, TypedDict", ""]
    for name, schema in document["components"]["schemas"].items():
        required = set(schema.get("required", ()))
        if any(keyword.iskeyword(member) for member in schema["properties"]):
            members = ", ".join(f'"{member}": {show_type(kind)}' for member, kind in schema["properties"].items())
            lines += ["", f'{name} = TypedDict("{name}", {{{members}}})', ""]
            continue
        lines += ["", f"class {name}(TypedDict):", f'    """{schema.get("description", name)}"""', ""]
        for member, kind in schema["properties"].items():
            shown = show_type(kind)
            lines.append(f"    {member}: {shown if member in required else f'NotRequired[{shown}]'}")
        lines.append("")
    return "\n".join(lines)


def render_client(document: dict[str, Any]) -> str:
    """client.py: a method for each operation of the document."""
    methods: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = name_method(method, path, operation)
            if name in methods:
                raise ValueError(f"two operations are called {name}")
            methods[name] = list(render_method(name, method.upper(), path, operation))
    return "\n".join(
        [
            f'"""The operations of the API. {WRITTEN}"""',
            "",
            "from typing import Any, Literal, Self",
            "",
            "from pipeline.client import models",
            "from pipeline.client.answers import Answer",
            "from pipeline.client.transport import Transport",
            "",
            "",
            "class Client(Transport):",
            '    """A method for each operation: `get_application` is `GET /applications/{application_id}`.',
            "",
            "    All raise `ProblemError` for an answer that is a problem, and `UnreachableError` without an answer.",
            '    """',
            "",
            "    async def __aenter__(self) -> Self:",
            "        await super().__aenter__()",
            "        return self",
            *(line for lines in methods.values() for line in ("", *lines)),
            "",
        ]
    )


def name_method(method: str, path: str, operation: dict[str, Any]) -> str:
    """`GET /applications` is `list_applications`, `GET /applications/{id}` `get_application`."""
    words: list[str] = []
    for part in path.strip("/").split("/"):
        if TEMPLATED.fullmatch(part):
            words[-1] = re.sub("ies$", "y", words[-1]) if words[-1].endswith("ies") else words[-1].removesuffix("s")
        else:
            words.append(re.sub(r"\W", "_", part))
    verb = "list" if method == "get" and show_answer(operation).startswith("list[") else method
    return "_".join([verb, *words])


def render_method(name: str, method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    """Lines of code."""
    parameters = operation["parameters"]
    in_path = [each["name"] for each in parameters if each["in"] == "path"]
    others = [each for each in parameters if each["in"] != "path"]
    positional = [f"{each}: str" for each in in_path]
    arguments = [f'"{method}"', f'"{path}"']
    if in_path:
        arguments.append("parts={" + ", ".join(f'"{each}": {each}' for each in in_path) + "}")
    for place, argument in (("query", "query"), ("header", "headers")):
        own = [each["name"] for each in others if each["in"] == place]
        if own:
            arguments.append(f"{argument}={{" + ", ".join(f'"{each}": {show_name(each)}' for each in own) + "}")
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        positional.append(f"body: {show_type(next(iter(content.values()))['schema'], 'models.')}")
        arguments.append("body=body")
        if JSON_TYPE not in content:
            positional.append(f"content_type: Literal[{', '.join(repr(each) for each in content)}]")
            arguments.append("content_type=content_type")
    named = [
        f"{show_name(each['name'])}: {show_type(each['schema'])}{'' if each['required'] else ' | None = None'}"
        for each in sorted(others, key=lambda each: not each["required"])
    ]
    signature = ", ".join(["self", *positional, *(["*", *named] if named else [])])
    yield f"    async def {name}({signature}) -> Answer[{show_answer(operation)}]:"
    summary = operation["summary"].replace('"', "'")
    yield '        """' + "\n        ".join(textwrap.wrap(summary, 105)) + '"""'
    yield f"        return await self.call({', '.join(arguments)})"


def show_answer(operation: dict[str, Any]) -> str:
    """The type of the body of what succeeds."""
    kinds = []
    for status, answer in operation["responses"].items():
        if int(status) < 300:
            content = answer.get("content")
            if content is None:
                kinds.append("bytes")
            elif set(content) == {JSON_TYPE}:
                kinds.append(show_type(content[JSON_TYPE]["schema"], "models."))
            else:
                kinds.append("Any" if JSON_TYPE in content else "bytes")
    return " | ".join(dict.fromkeys(kinds)) or "bytes"


def show_type(schema: dict[str, Any], prefix: str = "") -> str:
    """A JSON Schema as a Python type."""
    if "$ref" in schema:
        return prefix + str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(show_type(each, prefix) for each in schema["anyOf"]))
    if "enum" in schema:
        return f"Literal[{', '.join(repr(each) for each in schema['enum'])}]"
    match schema.get("type"):
        case "array":
            return f"list[{show_type(schema.get('items', {}), prefix)}]"
        case "object":
            return f"dict[str, {show_type(schema.get('additionalProperties', {}), prefix)}]"
        case str(kind):
            return SIMPLE[kind]
    return "Any"


def show_name(name: str) -> str:
    """A parameter as a Python name."""
    found = re.sub(r"\W", "_", name).lower()
    return f"{found}_" if keyword.iskeyword(found) or hasattr(builtins, found) else found


def render() -> dict[str, str]:
    """The files' texts, by name, as the house formats them."""
    document = describe_api(list_operations(), base_path=API_PATH)
    return {
        "models.py": shape(render_models(document), "models.py"),
        "client.py": shape(render_client(document), "client.py"),
    }


def shape(text: str, name: str) -> str:
    """Format the text with ruff, without unused imports."""
    ruff = [sys.executable, "-m", "ruff"]
    path = str(FOLDER / name)
    for options in (("check", "--select", "F401", "--fix"), ("format",)):
        command = [*ruff, *options, "--quiet", "--stdin-filename", path, "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own words
    return text


def main() -> None:
    for name, text in render().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
