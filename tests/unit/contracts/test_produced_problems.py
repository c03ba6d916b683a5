"""Every problem of the catalogue is produced by a test against a real gateway; here stands by which."""

import ast
from functools import cache

import pytest

from pipeline.gateway.problems import OWN, PROBLEMS
from tests.unit.contracts.repository import ROOT

GATEWAY = "tests/integration/gateway"
USERS, ROLES, PROBLEM_TESTS = f"{GATEWAY}/test_users.py", f"{GATEWAY}/test_roles.py", f"{GATEWAY}/test_problems.py"
QUOTAS, EDGES = f"{GATEWAY}/test_quotas.py", f"{GATEWAY}/test_http_edges.py"
# of Hook0's catalogue, which its clients read: causes that do not exist here
NEVER = frozenset(
    {
        "OrganizationNameMissing",  # `Validation`, as in Hook0 itself
        "ApplicationNameMissing",
        "AuthInvalidApplicationSecret",  # `AuthInvalidBiscuit`, whatever the token looks like
        "EventTypeAlreadyExist",  # creating one again is no mistake
        "AuthApplicationSecretLookupError",  # `ServiceUnavailable`
        "AuthBiscuitLookupError",
    }
)
PRODUCED = {
    "PasswordTooShort": (USERS, "test_refused_registrations"),
    "PasswordTooLong": (USERS, "test_refused_registrations"),
    "PasswordSimilarToEmail": (USERS, "test_refused_registrations"),
    "PasswordSimilarToName": (USERS, "test_refused_registrations"),
    "PasswordTooCommon": (USERS, "test_refused_registrations"),
    "PasswordNotDiverseEnough": (USERS, "test_refused_registrations"),
    "InvalidRole": (ROLES, "test_refused_invitations"),
    "EventTypeDoesNotExist": (PROBLEM_TESTS, "test_refused_subscriptions"),
    "UnauthorizedWorkers": (PROBLEM_TESTS, "test_refused_subscriptions"),
    "EventInvalidPayloadContentType": (PROBLEM_TESTS, "test_refused_events"),
    "EventInvalidBase64Payload": (PROBLEM_TESTS, "test_refused_events"),
    "EventInvalidJsonPayload": (PROBLEM_TESTS, "test_refused_events"),
    "LabelsAmbiguity": (PROBLEM_TESTS, "test_refused_subscriptions"),
    "InvalidDateRange": (f"{GATEWAY}/test_events_per_day.py", "test_the_range_of_days"),
    "AuthInvalidAuthorizationHeader": (PROBLEM_TESTS, "test_undecodable_header"),
    "JsonPayload": (PROBLEM_TESTS, "test_bodies_that_are_no_event"),
    "InvalidQuery": (PROBLEM_TESTS, "test_unreadable_paths_and_queries"),
    "InvalidRequest": (EDGES, "test_what_is_no_http_is_a_problem"),
    "AuthNoAuthorizationHeader": (PROBLEM_TESTS, "test_refused_tokens"),
    "AuthFailedLogin": (USERS, "test_guessing_is_bounded"),
    "AuthEmailNotVerified": (USERS, "test_from_registering_to_logging_out"),
    "AuthFailedRefresh": (USERS, "test_a_session_is_renewed"),
    "AuthEmailExpired": (USERS, "test_a_password_is_reset_by_e_mail"),
    "AuthInvalidBiscuit": (PROBLEM_TESTS, "test_refused_tokens"),
    "Forbidden": (PROBLEM_TESTS, "test_an_application_secret_stays_in_its_application"),
    "InvitedUserDoesNotExist": (ROLES, "test_refused_invitations"),
    "NotFound": (PROBLEM_TESTS, "test_unreadable_paths_and_queries"),
    "MethodNotAllowed": (EDGES, "test_a_wrong_method_names_the_right_ones"),
    "RequestTimeout": (EDGES, "test_a_body_that_drips_is_given_up"),
    "UserAlreadyExist": (USERS, "test_one_user_for_an_address"),
    "OrganizationIsNotEmpty": (f"{GATEWAY}/test_control_plane.py", "test_organizations"),
    "InvitedUserAlreadyInOrganization": (ROLES, "test_refused_invitations"),
    "EventAlreadyIngested": (f"{GATEWAY}/test_ingest.py", "test_a_repeated_id_is_refused"),
    "AuthEmailAlreadyVerified": (USERS, "test_from_registering_to_logging_out"),
    "RegistrationDisabled": (PROBLEM_TESTS, "test_nobody_registers_unless_it_is_allowed"),
    "PreconditionFailed": (f"{GATEWAY}/test_preconditions.py", "test_what_was_changed_meanwhile_is_not_replaced"),
    "RetryScheduleInUse": (f"{GATEWAY}/test_retry_schedules.py", "test_a_schedule_that_is_used_stays"),
    "TooManyRetrySchedulesPerApplication": (f"{GATEWAY}/test_retry_schedules.py", "test_what_a_schedule_can_be"),
    "RangeNotSatisfiable": (f"{GATEWAY}/test_deliveries.py", "test_a_payload_is_shown_as_it_is"),
    "Validation": (PROBLEM_TESTS, "test_refused_targets"),
    "IdempotencyKeyReused": (f"{GATEWAY}/test_idempotency.py", "test_other_events_under_a_key_are_refused"),
    "EventIdReused": (f"{GATEWAY}/test_ingest.py", "test_a_repeated_id_is_refused"),
    "EventPayloadUnfit": (f"{GATEWAY}/test_event_type_schemas.py", "test_over_http_what_does_not_fit_is_refused"),
    "TooManyMembersPerOrganization": (QUOTAS, "test_what_is_counted_in_rows"),
    "TooManyApplicationsPerOrganization": (QUOTAS, "test_what_is_counted_in_rows"),
    "TooManyEventsToday": (QUOTAS, "test_events_of_a_day"),
    "TooManySubscriptionsPerApplication": (
        f"{GATEWAY}/test_subscriptions_max.py",
        "test_an_application_has_no_more_than_it_may",
    ),
    "TooManyEventTypesPerApplication": (QUOTAS, "test_what_is_counted_in_rows"),
    "RateLimited": (f"{GATEWAY}/test_request_limits.py", "test_one_token_too_often"),
    "InternalServerError": (PROBLEM_TESTS, "test_a_mistake_of_ours_says_so_and_nothing_else"),
    "ServiceUnavailable": (f"{GATEWAY}/test_unwritable.py", "test_a_gateway_knows_whether_it_can_write"),
}


@cache
def read_tests(path: str) -> tuple[frozenset[str], frozenset[str]]:
    """The names of a file's tests, and all of its texts."""
    tree = ast.parse((ROOT / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = frozenset(node.name for node in tree.body if isinstance(node, functions))
    texts = frozenset(
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return names, texts


def test_every_problem_is_produced_or_has_no_cause() -> None:
    """One that is added comes with a test, and what Hookline adds to Hook0's has a cause."""
    assert PROBLEMS.keys() - NEVER == PRODUCED.keys()
    assert set() == NEVER & OWN


@pytest.mark.parametrize("problem", PRODUCED)
def test_it_is_produced_there(problem: str) -> None:
    """The test exists, and its file names the problem."""
    path, test = PRODUCED[problem]
    names, texts = read_tests(path)

    assert test in names
    assert problem in texts
