import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.receiver import FailTimes, Gone, Hang, Ok, Slow, Status, Step, Times, TooMany, parse_step
from tests.support.receiver.script import STEPS, Script, Scripts


def test_each_step_answers_one_request_and_the_last_all_others() -> None:
    """The order is the test's."""
    script = Script([Status(503), Gone(), Ok()])

    assert [Status(503), Gone(), Ok(), Ok(), Ok()] == [script.take() for _ in range(5)]


def test_a_step_for_several_requests_is_followed_by_the_next() -> None:
    """`Times` and `FailTimes` count, and start from nought after one another."""
    script = Script([FailTimes(2), Times(1, Hang()), FailTimes(1, 429), Gone()])

    assert [Status(500), Status(500), Hang(), Status(429), Gone(), Gone()] == [script.take() for _ in range(6)]


@given(st.integers(0, 5))
def test_after_the_failures_all_is_well(count: int) -> None:
    """`FailTimes(n)` alone fails n times, then succeeds for ever."""
    script = Script([FailTimes(count)])

    assert [Status(500)] * count + [Ok()] * 3 == [script.take() for _ in range(count + 3)]


def test_paths_have_scripts_of_their_own() -> None:
    """An unscripted path gets the default; a pattern counts for each of its paths apart; the longest one is meant."""
    scripts = Scripts(default=Gone())
    scripts.set("/a*", [FailTimes(1)])
    scripts.set("/ab*", [Hang()])
    scripts.set("/abc", [TooMany(3)])

    assert Gone() == scripts.take("/")
    assert [Status(500), Ok()] == [scripts.take("/a1") for _ in range(2)]
    assert [Status(500), Ok()] == [scripts.take("/a2") for _ in range(2)]
    assert Hang() == scripts.take("/ab")
    assert TooMany(3) == scripts.take("/abc")


def test_a_new_script_replaces_the_old_one() -> None:
    """The new script counts for a path, and by a pattern for all paths that were played already."""
    scripts = Scripts(default=Ok())
    scripts.set("/down", [Hang()])
    assert Hang() == scripts.take("/down")

    scripts.set("/down", [Gone()])
    assert Gone() == scripts.take("/down")

    scripts.set("*", [Status(503)])
    assert Status(503) == scripts.take("/down")


@pytest.mark.parametrize("kind", [kind for name, kind in STEPS.items() if name not in {"Status", "Redirect"}])
def test_every_step_can_be_written_as_text(kind: type) -> None:
    """An answer in the journal can be given to another receiver."""
    needed = {"Times": (2, Hang()), "FailTimes": (2,), "Slow": (200,)}
    step: Step = kind(*needed.get(kind.__name__, ()))

    assert step == parse_step(repr(step))


def test_text_takes_python_forms() -> None:
    """Arguments are read by position and by name, nested too."""
    assert Status(503, b"no", (("Retry-After", "5"),)) == parse_step(
        "Status(503, body=b'no', headers=(('Retry-After', '5'),))"
    )
    assert Times(3, Slow(200, Gone())) == parse_step("Times(3, Slow(200, answer=Gone()))")


@pytest.mark.parametrize("text", ["Explode()", "Status()", "503", "", "__import__('os')", "Status(503).code"])
def test_other_text_is_refused(text: str) -> None:
    """The refusal is a ValueError, and nothing but steps is ever called."""
    with pytest.raises(ValueError, match="is not a step"):
        parse_step(text)
