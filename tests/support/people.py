"""Users for tests."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tests.support.api import Api

PASSWORD = "vier gelbe Papageien"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user with a session."""

    user_id: str
    organization_id: str
    email: str
    access: str
    refresh: str


def new_email() -> str:
    return f"p{uuid4().hex}@example.org"


def describe_person(email: str, **members: Any) -> dict[str, Any]:
    """The body of a registration; `members` replace those it has."""
    return {"first_name": "Ada", "last_name": "Byron", "email": email, "password": PASSWORD} | members


async def make_person(api: Api) -> Person:
    """A user, made with the master key, who has logged in."""
    email = new_email()
    made = await api.call("POST", "/register", describe_person(email))
    assert made.status == 201, made.text
    session = await api.call("POST", "/auth/login", {"email": email, "password": PASSWORD})
    assert session.status == 201, session.text
    return Person(
        user_id=made.json["user_id"],
        organization_id=made.json["organization_id"],
        email=email,
        access=session.json["access_token"],
        refresh=session.json["refresh_token"],
    )
