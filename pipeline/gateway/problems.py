"""Errors as clients see them: RFC 9457 problems with a stable `id`, which clients match on.

`PROBLEMS` is the whole catalogue (`GET /errors` shows it); nothing else decides about a status or a title.
"""

import math
from dataclasses import dataclass
from typing import Any, TypedDict

import orjson
from aiohttp import web

REFERENCE_URL = "https://documentation.hook0.com/reference/error-codes#"
CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_S = 5

Validation = dict[str, list[dict[str, Any]]]


class ProblemShown(TypedDict):
    """A problem document. `validation`: by field, nested as the body is, lists of code, message and params."""

    type: str
    id: str
    title: str
    detail: str
    status: int
    validation: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemKind:
    """One entry of the catalogue."""

    id: str
    status: int
    title: str
    detail: str


def _kinds(status: int, *entries: tuple[str, str, str]) -> dict[str, ProblemKind]:
    return {name: ProblemKind(id=name, status=status, title=title, detail=detail) for name, title, detail in entries}


# Hook0 does not know these: its clients cannot read a list with them in it. As an answer they take them as a failure.
OWN = frozenset(
    {
        "InvalidQuery",
        "InvalidRequest",
        "MethodNotAllowed",
        "RequestTimeout",
        "IdempotencyKeyReused",
        "EventIdReused",
        "EventPayloadUnfit",
        "RangeNotSatisfiable",
        "PreconditionFailed",
        "RetryScheduleInUse",
        "TooManyRetrySchedulesPerApplication",
    }
)
PROBLEMS: dict[str, ProblemKind] = {
    **_kinds(
        400,
        ("OrganizationNameMissing", "The organization needs a name", "Give a name of 2 to 50 characters."),
        ("ApplicationNameMissing", "The application needs a name", "Give a name of 2 to 50 characters."),
        ("PasswordTooShort", "The password is too short", "Choose a longer password."),
        ("PasswordTooLong", "The password is too long", "Choose a shorter password."),
        ("PasswordSimilarToEmail", "The password is like the e-mail address", "Choose another password."),
        ("PasswordSimilarToName", "The password is like the name", "Choose another password."),
        ("PasswordTooCommon", "The password is a common one", "Choose another password."),
        ("PasswordNotDiverseEnough", "The password has too few different characters", "Choose another password."),
        ("InvalidRole", "There is no such role", "Give one of the roles that an organization knows."),
        ("EventTypeDoesNotExist", "The event type does not exist", "Create the event type in the application first."),
        ("UnauthorizedWorkers", "These workers cannot be used", "Leave out `dedicated_workers`, or name known ones."),
        (
            "EventInvalidPayloadContentType",
            "The payload's content type is not supported",
            "Use one of those that `GET /payload_content_types` lists.",
        ),
        ("EventInvalidBase64Payload", "The payload is not base64", "Encode it with the standard alphabet and padding."),
        ("EventInvalidJsonPayload", "The payload is not JSON", "Pass valid JSON as a string."),
        ("LabelsAmbiguity", "There are no labels", "Give `labels`, or both `label_key` and `label_value`."),
        ("InvalidDateRange", "The date range is empty", "`from` must not be after `to`."),
        (
            "AuthInvalidAuthorizationHeader",
            "The `Authorization` header cannot be read",
            "It must be `Bearer` and a token, in UTF-8.",
        ),
        ("JsonPayload", "The request body cannot be read", "Send JSON of the documented form as application/json."),
        ("InvalidQuery", "The query string cannot be read", "Give the documented members, percent-encoded from UTF-8."),
        ("InvalidRequest", "The request is not valid HTTP", "Send what RFC 9110 and RFC 9112 allow."),
    ),
    **_kinds(
        401,
        ("AuthNoAuthorizationHeader", "There is no `Authorization` header", "Send `Authorization: Bearer TOKEN`."),
        ("AuthFailedLogin", "The login failed", "E-mail address or password is wrong."),
        ("AuthEmailNotVerified", "The e-mail address is not verified", "Verify it first."),
        ("AuthFailedRefresh", "The session could not be renewed", "Log in again."),
        ("AuthEmailExpired", "The link has expired", "Ask for a new one."),
    ),
    **_kinds(
        403,
        ("AuthInvalidApplicationSecret", "The application secret is not valid", "Use one that was not revoked."),
        ("AuthInvalidBiscuit", "The token is not valid", "Use a valid application secret or the master key."),
        ("Forbidden", "This is not allowed", "The token has no right to do this, or the resource does not exist."),
    ),
    **_kinds(
        404,
        ("InvitedUserDoesNotExist", "The invited user does not exist", "Ask them to register first."),
        ("NotFound", "There is no such item", "It does not exist, or it was deleted."),
    ),
    **_kinds(405, ("MethodNotAllowed", "The path does not have this method", "Use one of those that `Allow` names.")),
    **_kinds(408, ("RequestTimeout", "The request did not arrive in time", "Send it again, and faster.")),
    **_kinds(
        409,
        ("UserAlreadyExist", "The user exists already", "Log in instead."),
        ("OrganizationIsNotEmpty", "The organization is not empty", "Delete its applications first."),
        ("InvitedUserAlreadyInOrganization", "The user is a member already", "There is nothing to do."),
        ("EventTypeAlreadyExist", "The event type exists already", "There is nothing to do."),
        ("EventAlreadyIngested", "The event was accepted before", "An event with this `event_id` exists already."),
        ("AuthEmailAlreadyVerified", "The e-mail address is verified already", "Log in."),
        ("RetryScheduleInUse", "Subscriptions refer to the retry schedule", "Give them another one first."),
    ),
    **_kinds(410, ("RegistrationDisabled", "Registration is switched off", "Ask the operator of this instance.")),
    **_kinds(
        412,
        ("PreconditionFailed", "It was changed meanwhile", "Get it again, and change what it is now, with its `ETag`."),
    ),
    **_kinds(416, ("RangeNotSatisfiable", "The range is not there", "Ask for bytes that the payload has.")),
    **_kinds(
        422,
        ("Validation", "The request has invalid fields", "See `validation` for which and why."),
        (
            "IdempotencyKeyReused",
            "The `Idempotency-Key` was used for another request",
            "Use a new key for other events; what was sent first under this key stays.",
        ),
        (
            "EventIdReused",
            "The `event_id` was used for another event",
            "An event with this id and another content was accepted before. Use a new id.",
        ),
        ("EventPayloadUnfit", "The payload does not fit its event type", "Send what the event type's schema allows."),
    ),
    **_kinds(
        429,
        ("TooManyMembersPerOrganization", "The organization has too many members", "Raise the limit."),
        ("TooManyApplicationsPerOrganization", "The organization has too many applications", "Raise the limit."),
        ("TooManyEventsToday", "The application sent too many events today", "Wait until tomorrow (UTC)."),
        ("TooManySubscriptionsPerApplication", "The application has too many subscriptions", "Delete some."),
        ("TooManyEventTypesPerApplication", "The application has too many event types", "Delete some."),
        ("TooManyRetrySchedulesPerApplication", "The application has too many retry schedules", "Delete some."),
        ("RateLimited", "Too many requests", "Wait as long as `Retry-After` says."),
    ),
    **_kinds(
        500,
        ("AuthApplicationSecretLookupError", "The application secret could not be looked up", "Try again."),
        ("AuthBiscuitLookupError", "The token could not be looked up", "Try again."),
        ("InternalServerError", "Something went wrong on our side", "Try again; if it stays so, tell the operator."),
    ),
    **_kinds(
        503, ("ServiceUnavailable", "The service cannot do this now", "Wait as long as `Retry-After` says, try again.")
    ),
}


class Problem(Exception):  # noqa: N818 - it is the answer, and called what the answer is called
    """Ends a request with the problem called `problem_id`. `status` and `detail` replace the catalogue's."""

    def __init__(
        self,
        problem_id: str,
        *,
        detail: str | None = None,
        validation: Validation | None = None,
        status: int | None = None,
        retry_after_s: float = RETRY_AFTER_S,
    ) -> None:
        super().__init__(problem_id)
        self.kind = PROBLEMS[problem_id]
        self.detail = detail or self.kind.detail
        self.validation = validation
        self.status = status or self.kind.status
        self.retry_after_s = retry_after_s

    def to_body(self) -> bytes:
        """The answer's body."""
        return orjson.dumps(show_problem(self.kind, self.detail, self.status, self.validation))

    def to_response(self) -> web.Response:
        """The answer."""
        headers = {"Retry-After": str(math.ceil(self.retry_after_s))} if self.status in (429, 503) else None
        response = web.Response(body=self.to_body(), status=self.status, content_type=CONTENT_TYPE, headers=headers)
        if self.status == 408:
            # the rest of the request may still come, and must not be taken for the next one
            response.force_close()
        return response


def show_problem(kind: ProblemKind, detail: str, status: int, validation: Validation | None = None) -> ProblemShown:
    """A problem's members."""
    return {
        "type": f"{REFERENCE_URL}{kind.id.lower()}",
        "id": kind.id,
        "title": kind.title,
        "detail": detail,
        "status": status,
        "validation": validation,
    }


def list_problems(*, with_own: bool) -> list[ProblemShown]:
    """The catalogue, as `GET /errors` shows it: Hook0's problems, or ours as well."""
    kinds = [kind for kind in PROBLEMS.values() if with_own or kind.id not in OWN]
    return [show_problem(kind, kind.detail, kind.status) for kind in kinds]
