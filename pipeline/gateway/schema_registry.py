"""Schemas of a Confluent schema registry, by their ids. An id never changes its schema, so that what is known stays."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import aiohttp
import msgspec
import structlog
from yarl import URL

from pipeline.config import GatewayConfig
from pipeline.core.events.framed import FramedData
from pipeline.core.events.json_text import find_json_problem
from schemas import SchemaError
from schemas.foreign import ReadAvro, compile_reader

KNOWN_MAX = 1_000
ANSWER_MAX_BYTES = 1024 * 1024
REFERENCES_MAX = 100
ACCEPT = "application/vnd.schemaregistry.v1+json, application/json"

log = structlog.get_logger()


class RegistryUnavailableError(Exception):
    """The registry does not answer, or answers in another form; the message says how."""


class UnusableError(Exception):
    """Nothing can be read with the schema; the message says why."""


class Reference(msgspec.Struct, frozen=True):
    """Another schema of the registry, whose types are named."""

    subject: str
    version: int


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to `GET /schemas/ids/{id}`, or `GET /subjects/{subject}/versions/{version}`."""

    schema: str
    schema_type: str = "AVRO"
    references: list[Reference] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSchema:
    """One of: an Avro reader, JSON (no reader, no problem), or why nothing is read with it."""

    read: ReadAvro | None = None
    problem: str | None = None


class SchemaRegistry:
    """`url` None: there is none. `clock`: seconds, monotonic."""

    def __init__(self, url: str | None, *, timeout_s: float, unknown_ttl_s: float, clock: Callable[[], float]) -> None:
        """`unknown_ttl_s`: an id that the registry does not know is asked for again after so long."""
        self._url: str | None = None
        self._headers = {"Accept": ACCEPT}
        if url is not None:
            self._url, authorization = _split(url)
            if authorization is not None:
                self._headers["Authorization"] = authorization
        self._timeout_s = timeout_s
        self._unknown_ttl_s = unknown_ttl_s
        self._clock = clock
        self._known: OrderedDict[int, KnownSchema] = OrderedDict()
        self._unknown: OrderedDict[int, float] = OrderedDict()  # until when
        self._is_away = False

    def check(self) -> str | None:
        """Health: None, or that records wait for it."""
        return (
            "the schema registry does not answer: records that need an unknown schema wait" if self._is_away else None
        )

    def is_settled(self, schema_id: int) -> bool:
        """Is there nothing to be asked: the schema is known, or known to be missing, or there is no registry?"""
        return self._url is None or schema_id in self._known or self._unknown.get(schema_id, 0) > self._clock()

    async def learn(self, schema_id: int) -> None:
        """Learn a schema, so that `read` knows it. Raises `RegistryUnavailableError`."""
        if self.is_settled(schema_id):
            return
        try:
            found = await self._ask(schema_id)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, RegistryUnavailableError) as error:
            self._is_away = True
            raise RegistryUnavailableError(f"{type(error).__name__}: {error}") from error
        self._is_away = False
        if found is None:
            _put(self._unknown, schema_id, self._clock() + self._unknown_ttl_s)
        else:
            _put(self._known, schema_id, found)

    def read(self, schema_id: int, data: bytes) -> FramedData:
        """The data of a schema that was learned."""
        if self._url is None:
            return FramedData(
                problem="it is in the Confluent wire format, which needs a schema registry; none is configured "
                "(HOOKLINE_GATEWAY_SCHEMA_REGISTRY_URL)"
            )
        known = self._known.get(schema_id)
        if known is None:
            return FramedData(problem=f"the schema registry has no schema {schema_id}")
        if known.problem is not None:
            return FramedData(problem=f"schema {schema_id} of the registry cannot be used: {known.problem}")
        if known.read is None:
            problem = find_json_problem(data)
            return FramedData(text=data, problem=f"its data {problem}" if problem is not None else None)
        try:
            return FramedData(value=known.read(data))
        except SchemaError as error:
            return FramedData(problem=f"read with schema {schema_id} of the registry: {error}")

    async def _ask(self, schema_id: int) -> KnownSchema | None:
        """Ask for a schema; None: the registry does not know it."""
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        # a connection of its own: an id is asked for once in a process' life
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            try:
                answer = await self._get(session, f"/schemas/ids/{schema_id}")
                if answer is None:
                    return None
                # JSON is not checked against its schema, and needs none of others
                references = await self._follow(session, answer) if answer.schema_type == "AVRO" else []
            except UnusableError as error:
                return KnownSchema(problem=str(error))
        return await asyncio.to_thread(_compile, answer, references)

    async def _follow(self, session: aiohttp.ClientSession, answer: Answer) -> list[str]:
        """Schemas that a schema refers to, each behind those that it refers to itself. Raises `UnusableError`."""
        found: dict[Reference, str] = {}
        size_bytes = len(answer.schema)

        async def follow(references: Sequence[Reference], within: frozenset[Reference]) -> None:
            nonlocal size_bytes
            for reference in references:
                if reference in within:
                    raise UnusableError(f"its reference {reference.subject!a} refers to itself")
                if reference in found:
                    continue
                if len(found) + len(within) >= REFERENCES_MAX:
                    raise UnusableError(f"it refers to more than {REFERENCES_MAX} other schemas")
                path = f"/subjects/{quote(reference.subject, safe='')}/versions/{reference.version}"
                referred = await self._get(session, path)
                if referred is None:
                    raise UnusableError(f"the registry does not have what it refers to: {reference.subject!a}")
                size_bytes += len(referred.schema)
                if size_bytes > ANSWER_MAX_BYTES:
                    raise UnusableError(f"with what it refers to it has more than {ANSWER_MAX_BYTES} bytes")
                await follow(referred.references, within | {reference})
                found[reference] = referred.schema

        await follow(answer.references, frozenset())
        return list(found.values())

    async def _get(self, session: aiohttp.ClientSession, path: str) -> Answer | None:
        """Get a schema, if there is one. Raises `UnusableError`, and what `learn` takes for a registry that is away."""
        url = URL(f"{self._url}{path}", encoded=True)
        async with session.get(url, allow_redirects=False) as response:
            body = await response.content.read(ANSWER_MAX_BYTES + 1)
            if response.status == 404:
                return None
            if response.status != 200:
                raise RegistryUnavailableError(f"it answered {response.status}")
        if len(body) > ANSWER_MAX_BYTES:
            raise UnusableError(f"it has more than {ANSWER_MAX_BYTES} bytes")
        return msgspec.json.decode(body, type=Answer)


def open_registry(config: GatewayConfig) -> SchemaRegistry:
    """The registry that the settings name; nothing is asked yet."""
    url = config.schema_registry_url
    return SchemaRegistry(
        url.get_secret_value() if url is not None else None,
        timeout_s=config.schema_registry_timeout_s,
        unknown_ttl_s=config.schema_registry_unknown_ttl_s,
        clock=time.monotonic,
    )


def _compile(answer: Answer, references: Sequence[str]) -> KnownSchema:
    match answer.schema_type:
        case "AVRO":
            try:
                return KnownSchema(read=compile_reader(answer.schema, references=references))
            except SchemaError as error:
                return KnownSchema(problem=str(error))
        case "JSON":
            return KnownSchema()
    return KnownSchema(problem=f"its type is {answer.schema_type[:20]!a}; Avro and JSON are read")


def _split(url: str) -> tuple[str, str | None]:
    """The address without what is before the `@`, and that as a header."""
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    name, _, password = map(unquote, user.partition(":"))
    plain = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
    return plain, aiohttp.encode_basic_auth(name, password) if at else None


def _put(known: "OrderedDict[int, Any]", schema_id: int, value: Any) -> None:
    known[schema_id] = value
    if len(known) > KNOWN_MAX:
        known.popitem(last=False)
