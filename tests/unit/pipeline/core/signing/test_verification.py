import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.signing.signature import format_standard_secret, sign_hook0, sign_standard
from pipeline.core.signing.verification import (
    HOOK0_HEADER,
    STANDARD_HEADERS,
    TOLERANCE_S,
    Absent,
    Verification,
    check_hook0,
    check_standard,
    parse_secret,
    verify,
)

SECRET = "4f8c1c3e-6f3b-4a57-9b1c-0d6d3d0a8f11"
KEY, OTHER_KEY = SECRET.encode(), b"00000000-6f3b-4a57-9b1c-0d6d3d0a8f11"
NOW_S = 1_795_000_000
BODY = b'{"a":1}'
COVERED = {"content-type": "application/json", "x-event-id": "e1", "x-event-type": "a.b.c"}
HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


def sign(
    *keys: bytes,
    body: bytes = BODY,
    covered: dict[str, str] = COVERED,
    versions: tuple[str, ...] = ("v1",),
    signed_at_s: int = NOW_S,
) -> dict[str, str]:
    """The headers of a genuine delivery, signed with all of `keys`; Hook0's signature with the first only."""
    return covered | {
        HOOK0_HEADER: sign_hook0(keys[0], body=body, headers=covered, signed_at_s=signed_at_s, versions=versions),
        "webhook-id": "d1",
        "webhook-timestamp": str(signed_at_s),
        "webhook-signature": sign_standard(keys, message_id="d1", body=body, signed_at_s=signed_at_s),
    }


def check_changed_hook0(value: str) -> object:
    return check_hook0([KEY], headers=COVERED | {HOOK0_HEADER: value}, body=BODY, now_s=NOW_S)


@given(
    body=st.binary(max_size=200),
    covered=st.dictionaries(st.sampled_from(["x-a", "content-type", "x-event-id"]), HEADER_TEXT),
    versions=st.sampled_from([("v0",), ("v1",), ("v0", "v1")]),
)
def test_what_we_sign_verifies(body: bytes, covered: dict[str, str], versions: tuple[str, ...]) -> None:
    """Any body, any headers, any of the versions; by both schemes."""
    found = verify([KEY], headers=sign(KEY, body=body, covered=covered, versions=versions), body=body, now_s=NOW_S)

    assert Verification(hook0=None, standard=None) == found
    assert ("hook0", "standard") == found.schemes
    assert found.is_genuine


@given(body=st.binary(max_size=50))
def test_another_body_does_not_verify(body: bytes) -> None:
    """One scheme is as strict as the other."""
    found = verify([KEY], headers=sign(KEY, body=body), body=body + b" ", now_s=NOW_S)

    assert () == found.schemes
    assert 2 == len(found.problems)
    assert all("it does not fit" in problem for problem in found.problems)


def test_a_changed_header_that_is_covered_does_not_verify() -> None:
    """Hook0's v1 covers headers; Standard Webhooks covers the id and the time."""
    headers = sign(KEY)

    assert isinstance(check_hook0([KEY], headers=headers | {"x-event-type": "a.b.d"}, body=BODY, now_s=NOW_S), str)
    assert isinstance(check_standard([KEY], headers=headers | {"webhook-id": "d2"}, body=BODY, now_s=NOW_S), str)


def test_another_secret_does_not_verify() -> None:
    """A delivery for another receiver is recognised."""
    found = verify([OTHER_KEY], headers=sign(KEY), body=BODY, now_s=NOW_S)

    assert () == found.schemes


@pytest.mark.parametrize("known", [[KEY], [OTHER_KEY], [OTHER_KEY, KEY]])
def test_while_a_secret_is_rotated_either_one_is_enough(known: list[bytes]) -> None:
    """The sender signs with both; the receiver may know the old one, the new one, or both."""
    finding = check_standard(known, headers=sign(KEY, OTHER_KEY), body=BODY, now_s=NOW_S)

    assert finding is None


def test_a_receiver_with_both_secrets_accepts_either_sender() -> None:
    """Either of the receiver's keys may have signed."""
    for key in (KEY, OTHER_KEY):
        assert verify([KEY, OTHER_KEY], headers=sign(key), body=BODY, now_s=NOW_S).is_genuine


@pytest.mark.parametrize(("off_s", "is_genuine"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_five_minutes_are_tolerated_in_either_direction(off_s: int, is_genuine: bool) -> None:
    """Clocks differ; an old delivery must not be played back."""
    found = verify([KEY], headers=sign(KEY), body=BODY, now_s=NOW_S + off_s)

    assert 300 == TOLERANCE_S
    assert is_genuine == found.is_genuine


def test_no_signature_at_all_is_not_genuine() -> None:
    """Each scheme is absent, and that is the problem."""
    found = verify([KEY], headers=COVERED, body=BODY, now_s=NOW_S)

    assert Verification(hook0=Absent(), standard=Absent()) == found
    assert ("it carries no signature",) == found.problems


def test_one_scheme_is_enough_unless_the_other_one_is_wrong() -> None:
    """A sender may use only one; but what is there must hold."""
    headers = sign(KEY)
    hook0_only = {name: value for name, value in headers.items() if name not in STANDARD_HEADERS}

    assert verify([KEY], headers=hook0_only, body=BODY, now_s=NOW_S).is_genuine
    assert ("hook0",) == verify([KEY], headers=hook0_only, body=BODY, now_s=NOW_S).schemes
    assert not verify([KEY], headers=headers | {HOOK0_HEADER: "t=1"}, body=BODY, now_s=NOW_S).is_genuine


def test_v1_is_not_replaced_by_a_v0_that_holds() -> None:
    """Otherwise a forger of headers would only have to break v1."""
    value = sign(KEY, versions=("v0", "v1"))[HOOK0_HEADER]
    broken = value[:-2] + ("00" if value[-2:] != "00" else "11")

    assert check_changed_hook0(value) is None
    assert "it does not fit: another secret, or something was changed on the way" == check_changed_hook0(broken)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "not name=value"),
        ("nonsense", "not name=value"),
        ("t=1,t=2,v0=00", "there twice"),
        (f"t={NOW_S}", "neither v1 nor v0"),
        ("v0=00", "not in seconds"),
        (f"t=+{NOW_S},v0=00", "not in seconds"),
        ("t=١٢٣,v0=00", "not in seconds"),
        ("t=" + "9" * 5000 + ",v0=00", "not in seconds"),
        (f"t={NOW_S},v0=xyz", "v0 is not hexadecimal"),
        (f"t={NOW_S},v0=", "it does not fit"),
        (f"t={NOW_S},v1=00", "does not say which headers"),
        (f"t={NOW_S},h=x-event-id x-gone,v1=00", "covers 'x-gone', a header that is not there"),
    ],
)
def test_a_malformed_hook0_signature_is_named(value: str, reason: str) -> None:
    """The finding is one sentence that says what is wrong with it."""
    finding = check_changed_hook0(value)

    assert isinstance(finding, str)
    assert reason in finding


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"webhook-id": None}, "webhook-id is missing"),
        ({"webhook-id": None, "webhook-signature": None}, "webhook-id, webhook-signature is missing"),
        ({"webhook-timestamp": "soon"}, "not in seconds"),
        ({"webhook-signature": ""}, "has no v1"),
        ({"webhook-signature": "v1a,AAAA v2,BBBB"}, "has no v1"),
        ({"webhook-signature": "v1,"}, "it does not fit"),
        ({"webhook-signature": "v1,no base64!"}, "it does not fit"),
        ({"webhook-signature": "v1,AAAA"}, "it does not fit"),
        ({"webhook-id": "\udcff"}, "webhook-id is no text"),
    ],
)
def test_malformed_standard_headers_are_named(changed: dict[str, str | None], reason: str) -> None:
    """The finding is one sentence that says what is wrong with them."""
    headers = {name: value for name, value in (sign(KEY) | changed).items() if value is not None}

    finding = check_standard([KEY], headers=headers, body=BODY, now_s=NOW_S)

    assert isinstance(finding, str)
    assert reason in finding


@given(st.dictionaries(st.sampled_from([HOOK0_HEADER, *STANDARD_HEADERS, "x-a"]), st.text(max_size=60)))
def test_no_header_whatever_raises_or_verifies(headers: dict[str, str]) -> None:
    """Headers of strangers become a finding."""
    found = verify([KEY], headers=headers, body=BODY, now_s=NOW_S)

    assert not found.is_genuine


@given(st.text(max_size=40))
def test_no_covered_header_whatever_raises(value: str) -> None:
    """A header that cannot be encoded raises nothing either."""
    signature = f"t={NOW_S},h=x-a,v1={'00' * 32}"

    finding = check_hook0([KEY], headers={HOOK0_HEADER: signature, "x-a": value}, body=BODY, now_s=NOW_S)

    assert isinstance(finding, str)


def test_the_hook0_header_may_have_another_name() -> None:
    """The operator sets its name."""
    headers = sign(KEY)
    headers["x-mine"] = headers.pop(HOOK0_HEADER)

    assert check_hook0([KEY], headers=headers, body=BODY, now_s=NOW_S, hook0_header="x-mine") is None
    assert Absent() == check_hook0([KEY], headers=headers, body=BODY, now_s=NOW_S)


@pytest.mark.parametrize("text", [SECRET, SECRET.upper(), format_standard_secret(SECRET)])
def test_a_secret_is_read_in_either_form(text: str) -> None:
    """Both forms are the same key."""
    assert KEY == parse_secret(text)


def test_a_foreign_standard_secret_is_read() -> None:
    """Any bytes, not only those of a UUID."""
    assert b"\x00\xff" == parse_secret("whsec_" + base64.b64encode(b"\x00\xff").decode())


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!", "4f8c1c3e", "secret"])
def test_what_is_no_secret_is_refused(text: str) -> None:
    """The error says what a secret looks like."""
    with pytest.raises(ValueError, match="a secret is a UUID, or whsec_ followed by base64"):
        parse_secret(text)
