"""An operation of the API: a route, the parts of a request that it reads, and its answers.

Routes are made from operations, and so is the API's document (`openapi.py`). A handler can read no member of the query
that its operation does not declare, and a problem that it does not declare is logged as an error of ours.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A member of the query, or a header. `read` raises `ValueError`; `wanted` ends the sentence "it must be …"."""

    name: str
    schema: dict[str, Any]
    read: Callable[[str], Any] = str
    wanted: str = "a text"
    is_required: bool = False
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `problems`: ids beyond those that follow from the other members (`list_problem_ids`).

    `path`: below the API's own. `body`: the type of a JSON body. `answer`: the type of the JSON answer; None: there is
    no body. `is_public`: asks for no token.
    """

    method: str
    path: str
    handler: Handler
    query: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    body: Any = None
    body_types: tuple[str, ...] = (JSON,)
    status: int = 200
    answer: Any = None
    answer_types: tuple[str, ...] = (JSON,)
    other_answers: tuple[tuple[int, Any], ...] = ()  # status and type
    problems: tuple[str, ...] = ()
    is_public: bool = False
    parameters: Mapping[str, Parameter] = field(init=False, repr=False, compare=False)  # those of the query, by name

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", {parameter.name: parameter for parameter in self.query})

    @property
    def name(self) -> str:
        """`GET /events/{event_id}`."""
        return f"{self.method} {self.path}"

    def list_problem_ids(self) -> frozenset[str]:
        """Every problem that this operation can answer with."""
        found = {"InvalidQuery", "InvalidRequest", "InternalServerError", "ServiceUnavailable", *self.problems}
        if self.path != "/health":
            found.add("RateLimited")
        if "{" in self.path:
            found.add("NotFound")
        if self.body is not None:
            found |= {"JsonPayload", "RequestTimeout", "Validation"}
        if not self.is_public:
            found |= {"AuthNoAuthorizationHeader", "AuthInvalidAuthorizationHeader", "AuthInvalidBiscuit", "Forbidden"}
        return frozenset(found)


OPERATION = web.RequestKey("operation", Operation)
