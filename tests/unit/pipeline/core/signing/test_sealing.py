import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.signing.sealing import KEY_BYTES, NONCE_BYTES, Sealed, Sealer, SealingError, parse_keys

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
NONCE = bytes(NONCE_BYTES)
NONCES = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)


def format_key(key_id: str, key: bytes) -> str:
    return f"{key_id}:{base64.b64encode(key).decode()}"


@given(st.binary(), st.text(), NONCES)
def test_a_secret_comes_back(secret: bytes, context: str, nonce: bytes) -> None:
    """A sealed secret opens in its own context, and its sealed form does not show it."""
    sealer = Sealer([("new", NEW)])
    sealed = sealer.seal(secret, context=context, nonce=nonce)

    assert secret == sealer.unseal(sealed, context=context)
    assert len(secret) < 4 or secret not in sealed.sealed[NONCE_BYTES:]
    assert "new" == sealed.key_id


@given(st.binary(), st.data())
def test_a_changed_bit_is_noticed(secret: bytes, data: st.DataObject) -> None:
    """A changed bit of nonce, ciphertext or tag makes a secret that does not open."""
    sealer = Sealer([("new", NEW)])
    sealed = sealer.seal(secret, context="c", nonce=NONCE)
    bit = data.draw(st.integers(0, len(sealed.sealed) * 8 - 1))
    changed = bytearray(sealed.sealed)
    changed[bit // 8] ^= 1 << bit % 8

    with pytest.raises(SealingError, match="'new' does not open"):
        sealer.unseal(Sealed(key_id="new", sealed=bytes(changed)), context="c")


@given(st.binary(max_size=NONCE_BYTES + 16))
def test_what_is_too_short_is_a_sealing_error(sealed: bytes) -> None:
    """A truncated row is told as what it is, not as a mistake in a library."""
    with pytest.raises(SealingError):
        Sealer([("new", NEW)]).unseal(Sealed(key_id="new", sealed=sealed), context="c")


def test_a_secret_moved_to_another_owner_does_not_open() -> None:
    """Write access to the database does not let one subscription sign with another one's secret."""
    sealer = Sealer([("new", NEW)])
    sealed = sealer.seal(b"secret", context="subscription 1", nonce=NONCE)

    with pytest.raises(SealingError):
        sealer.unseal(sealed, context="subscription 2")


def test_keys_rotate() -> None:
    """Secrets sealed before still open with a new key in front, and new ones are sealed with it."""
    before = Sealer([("old", OLD)]).seal(b"secret", context="c", nonce=NONCE)
    sealer = Sealer([("new", NEW), ("old", OLD)])

    assert b"secret" == sealer.unseal(before, context="c")
    assert "new" == sealer.seal(b"secret", context="c", nonce=NONCE).key_id


def test_a_missing_key_is_named() -> None:
    """The message says which key is needed and which ones are here."""
    sealed = Sealer([("old", OLD)]).seal(b"secret", context="c", nonce=NONCE)

    with pytest.raises(SealingError, match=r"'old'.*given: new"):
        Sealer([("new", NEW)]).unseal(sealed, context="c")


def test_another_key_of_the_same_name_does_not_open() -> None:
    """A key that was replaced by mistake fails loudly."""
    sealed = Sealer([("key", OLD)]).seal(b"secret", context="c", nonce=NONCE)

    with pytest.raises(SealingError, match="wrong key or changed"):
        Sealer([("key", NEW)]).unseal(sealed, context="c")


def test_there_must_be_a_key() -> None:
    """Sealing needs a key; the message names the settings."""
    with pytest.raises(SealingError, match="HOOKLINE_SEALING_KEY_FILE"):
        Sealer([])


def test_a_key_of_another_size_is_refused() -> None:
    """A short key would be a weaker cipher without a word."""
    with pytest.raises(SealingError, match="has 16 bytes"):
        Sealer([("short", bytes(16))])


def test_keys_are_read_from_lines_or_words() -> None:
    """A file may have comments and empty lines; the environment has spaces."""
    lines = f"# keys\n\n{format_key('new', NEW)}\n  # the one before\n{format_key('old', OLD)}\n"
    expected = [("new", NEW), ("old", OLD)]

    assert expected == parse_keys(lines)
    assert expected == parse_keys(f"{format_key('new', NEW)} {format_key('old', OLD)}")
    assert [] == parse_keys("# nothing")


@pytest.mark.parametrize(
    "text", ["new", "new:", f":{base64.b64encode(NEW).decode()}", "new:AAAA", "new:!!!!", format_key("new", NEW[1:])]
)
def test_a_malformed_key_is_refused_without_showing_it(text: str) -> None:
    """The message says what a key looks like, and never repeats the secret part."""
    with pytest.raises(SealingError, match="in base64") as caught:
        parse_keys(text)

    secret = text.partition(":")[2]
    assert not secret or secret not in str(caught.value)
    assert 32 == KEY_BYTES


def test_two_keys_of_one_name_are_refused() -> None:
    """Which one is meant could not be told: what was sealed with one of them would never open again."""
    with pytest.raises(SealingError, match="'key'"):
        Sealer([("key", NEW), ("key", OLD)])
