import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.headers import REDACTED, find_header_problem, find_value_problem, is_secret_name, redact

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize("name", ["x-team", "X-Team", "Authorization", "Cookie", "User-Agent", "x_y", "a", "X-Webhook"])
def test_headers_that_may_be_added(name: str) -> None:
    """Customers use these headers to let our requests in."""
    assert find_header_problem(name, "Bearer abc") is None


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "HOST", "Content-Length", "Transfer-Encoding", "Connection", "TE", "Trailer", "Upgrade"),
        *("Keep-Alive", "Proxy-Authorization", "proxy-connection", "Expect", "webhook-id", "Webhook-Signature"),
        *("X-Event-Id", "x-event-type", "X-Hook0-Signature", "Hookline-Hop", "HTTP2-Settings"),
    ],
)
def test_headers_that_are_not_theirs(name: str) -> None:
    """Such headers delimit or route the request, are about the connection, or are ours."""
    problem = find_header_problem(name, "1")

    assert problem is not None
    assert problem == f"the header {name!r} cannot be set by a subscription"


def test_the_signatures_header_is_the_configured_one() -> None:
    """The configured name is ours, and the usual one is not."""
    assert find_header_problem("X-Signature", "1", signature_header="x-signature") is not None
    assert find_header_problem("X-Hook0-Signature", "1", signature_header="x-signature") is None


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "a:", "a\r\nb", "a\n", "\nhost", "ä", "a\x00", "(a)", "a,b", "a/b", "host ", '"a"', "a\u0130"],
)
def test_names_that_are_none(name: str) -> None:
    """Names are tokens, as RFC 9110 has them."""
    problem = find_header_problem(name, "1")

    assert problem is not None
    assert "is not a header name" in problem
    assert problem.isprintable()


@pytest.mark.parametrize("value", ["", "a", "a b", "a\tb", "!", "~", "a  b", 'q="x, y"; z'])
def test_values_that_can_be_sent(value: str) -> None:
    """Visible ASCII, with blanks inside."""
    assert find_value_problem("x", value) is None


@pytest.mark.parametrize(
    "value",
    [" ", " a", "a ", "\ta", "a\t", "a\r\nb: c", "a\n", "\r", "a\x00b", "\x7f", "ü", "a\u2028b", "\ud800", "\x0b"],
)
def test_values_that_cannot_be_sent(value: str) -> None:
    """No line ends, no NUL, nothing beyond ASCII, and nothing at the ends that is cut off on the way."""
    problem = find_value_problem("x-a", value)

    assert problem == "the value of header 'x-a' is not visible ASCII"


@given(st.text(), st.text())
def test_what_is_let_through_stays_one_line(name: str, value: str) -> None:
    """A text without a problem makes exactly one header line."""
    if find_header_problem(name, value) is not None:
        return
    line = f"{name}: {value}".encode("ascii")

    assert [line] == line.splitlines()
    assert set(name) <= set(TOKEN_CHARACTERS)
    assert value == value.strip()


@given(st.text(TOKEN_CHARACTERS, min_size=1))
def test_every_token_is_a_name(name: str) -> None:
    """A token is refused for being ours only."""
    problem = find_header_problem(name, "1")

    assert problem is None or "cannot be set" in problem


@given(st.text(max_size=10_000))
def test_problems_do_not_repeat_the_value(value: str) -> None:
    """Values are secrets often; a problem is the same for all of them."""
    assert find_value_problem("x-a", value) in (None, "the value of header 'x-a' is not visible ASCII")


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-apikey", "x-auth-token"),
        *(
            "x-gitlab-token",
            "x-secret",
            "x-password",
            "x-functions-key",
            "ocp-apim-subscription-credential",
            "x-session",
        ),
    ],
)
def test_secret_names(name: str) -> None:
    """The usual ways to carry a secret are recognised by name."""
    assert is_secret_name(name)


def test_redact() -> None:
    """Secrets are taken out, the rest stays, signatures too: they are good for this one request."""
    headers = {"authorization": "Bearer abc", "x-team": "a", "webhook-signature": "v1,abc", "idempotency-key": "1"}

    assert {**headers, "authorization": REDACTED} == redact(headers)
