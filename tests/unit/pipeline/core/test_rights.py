import pytest

from pipeline.core.rights import UNLIMITED_ONLY, Actor, Grant, Limits, Role, may_viewer, name_right

ACTOR = Actor(kind="user", actor_id="u")


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("POST", "/event", "events:ingest"),
        ("POST", "/events", "events:ingest"),
        ("POST", "/events/{event_id}/replay", "events:write"),
        ("GET", "/events", "events:read"),
        ("HEAD", "/subscriptions/{subscription_id}", "subscriptions:read"),
        ("DELETE", "/subscriptions/{subscription_id}", "subscriptions:write"),
        ("PUT", "/organizations/{organization_id}/invite", "organizations:write"),
    ],
)
def test_a_right_is_called_after_the_path(method: str, path: str, right: str) -> None:
    """Every operation needs a right, also those that are still to come."""
    assert right == name_right(method, path)


def test_viewers_read_what_is_not_secret() -> None:
    """A viewer who could read a secret would be what the secret is."""
    assert may_viewer("events:read")
    assert not may_viewer("application_secrets:read")
    assert not may_viewer("service_token:read")
    assert not may_viewer("subscriptions:write")
    assert not may_viewer("events:ingest")


def test_a_role_holds_in_its_organization() -> None:
    """The role holds in no other organization."""
    grant = Grant(actor=ACTOR, roles={"a": Role.EDITOR, "b": Role.VIEWER})

    assert grant.allows("subscriptions:write", "a", "app")
    assert not grant.allows("subscriptions:write", "b", "app")
    assert grant.allows("subscriptions:read", "b", "app")
    assert not grant.allows("subscriptions:read", "c", "app")


def test_limits_narrow_what_a_token_may() -> None:
    """Scopes and applications must both allow it; and none that is limited can make a token that is not."""
    limits = Limits(scopes=frozenset({"events:read"}), application_ids=frozenset({"app"}))
    grant = Grant(actor=ACTOR, roles={"a": Role.EDITOR}, limits=limits)

    assert grant.allows("events:read", "a", "app")
    assert not grant.allows("events:read", "a", "other")
    assert not grant.allows("events:read", "a")
    assert not grant.allows("events:write", "a", "app")
    for right in UNLIMITED_ONLY:
        assert not Grant(actor=ACTOR, roles={"a": Role.EDITOR}, limits=Limits()).allows(right, "a")
