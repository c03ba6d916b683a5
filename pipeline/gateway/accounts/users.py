"""`/users`: additions of ours. The master key lists and removes users; a user sees and removes themselves."""

from typing import TypedDict

from aiohttp import web

from pipeline.core.events.moments import show_datetime
from pipeline.gateway.answers import Id, Time, answer_json, answer_nothing
from pipeline.gateway.auth import Caller, authorize
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import declare_id, declare_text, take, take_path_id
from pipeline.postgres.control.users import User, delete_user, find_user, list_users

PAGE_USERS = 100


EMAIL = declare_text("email", "Only who has this address.")
AFTER = declare_id("after", "Only users with a higher id.")


class UserShown(TypedDict):
    """A user."""

    user_id: Id
    email: str
    first_name: str
    last_name: str
    email_verified_at: Time | None
    created_at: Time
    last_login_at: Time | None


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/users", show_all, query=(EMAIL, AFTER), answer=list[UserShown]),
        Operation("GET", "/users/{user_id}", show_one, answer=UserShown),
        Operation("DELETE", "/users/{user_id}", delete, status=204),
    ]


async def show_all(request: web.Request) -> web.Response:
    """100 by id, behind `after`; `email` for one address."""
    caller = await authorize(request)
    caller.require_master()
    found = await list_users(
        request.app[GATEWAY].pool,
        email=take(request, "email"),
        after=take(request, "after"),
        most=PAGE_USERS,
    )
    return answer_json([_show(user) for user in found])


async def show_one(request: web.Request) -> web.Response:
    """One user."""
    caller, user_id = await authorize(request), take_path_id(request, "user_id")
    _require_own(caller, user_id)
    user = await find_user(request.app[GATEWAY].pool, user_id)
    if user is None:
        raise Problem("NotFound")
    return answer_json(_show(user))


async def delete(request: web.Request) -> web.Response:
    """Remove a user from everywhere: its tokens are refused within a second at every gateway."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    user_id = take_path_id(request, "user_id")
    _require_own(caller, user_id)
    if not await delete_user(gateway.pool, user_id):
        raise Problem("NotFound")
    if caller.grant.token_hash is not None:
        gateway.tokens.sessions.forget(caller.grant.token_hash)
    return answer_nothing()


def _require_own(caller: Caller, user_id: str) -> None:
    if not caller.is_master and caller.grant.user_id != user_id:
        raise Problem("Forbidden")


def _show(user: User) -> UserShown:
    return {
        "user_id": user.user_id,
        "email": user.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "email_verified_at": show_datetime(user.email_verified_at) if user.email_verified_at is not None else None,
        "created_at": show_datetime(user.created_at),
        "last_login_at": show_datetime(user.last_login_at) if user.last_login_at is not None else None,
    }
