"""Which passwords are taken. Pure, but for the list of common ones that `zxcvbn` brings."""

from typing import Literal

PASSWORD_MAX_CHARS = 100
DIFFERENT_MIN = 5
# of characters in a row that a password must not have in common with a name; shorter names are in many words
SIMILAR_MIN_CHARS = 4
# fewer guesses than this are tried within minutes even against a slow hash
GUESSES_MIN_LOG10 = 7.0
RATED_MAX_CHARS = 72  # longer ones are not guessed, and rating them takes long

PasswordProblem = Literal[
    "PasswordTooShort",
    "PasswordTooLong",
    "PasswordSimilarToEmail",
    "PasswordSimilarToName",
    "PasswordTooCommon",
    "PasswordNotDiverseEnough",
]


def find_password_problem(
    password: str, *, min_chars: int, email: str, names: tuple[str, ...]
) -> PasswordProblem | None:
    """The first rule that a password breaks. Takes some milliseconds of processor time."""
    # imported here: its lists take 10 MB, and only who sets a password needs them
    from zxcvbn import zxcvbn

    if len(password) < min_chars:
        return "PasswordTooShort"
    if len(password) > PASSWORD_MAX_CHARS:
        return "PasswordTooLong"
    if len(set(password)) < DIFFERENT_MIN:
        return "PasswordNotDiverseEnough"
    if _is_similar(password, (email, *email.split("@"))):
        return "PasswordSimilarToEmail"
    if _is_similar(password, names):
        return "PasswordSimilarToName"
    if zxcvbn(password[:RATED_MAX_CHARS])["guesses_log10"] < GUESSES_MIN_LOG10:
        return "PasswordTooCommon"
    return None


def _is_similar(password: str, words: tuple[str, ...]) -> bool:
    """Is a word most of the password?"""
    folded = password.casefold()
    return any(
        len(word) >= SIMILAR_MIN_CHARS and word.casefold() in folded and 2 * len(word) >= len(password)
        for word in words
    )
