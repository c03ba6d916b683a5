"""Sealing: secrets are encrypted before they enter Kafka or PostgreSQL (AES-256-GCM, with a key id beside them).

A sealed secret is bound to its owner (`context`, for example a subscription id): moved to another row it does not open.
Nonces come from the caller, since core has no source of randomness.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12


class SealingError(ValueError):
    """A secret cannot be opened, or a key is malformed. The message says which key is meant and what to do."""


class UnsealError(SealingError):
    """One secret cannot be opened. `key_id`: the key it is sealed with, which is missing or another one here."""

    def __init__(self, key_id: str, message: str) -> None:
        super().__init__(message)
        self.key_id = key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A secret that only the holder of key `key_id` can read. `sealed`: the nonce, then the ciphertext with its tag."""

    key_id: str
    sealed: bytes


class Sealer:
    """Seals with one key, opens with any."""

    __slots__ = ("_keys", "current_key_id")

    def __init__(self, keys: Sequence[tuple[str, bytes]], *, seal_with: str | None = None) -> None:
        """`keys`: (id, 32 bytes). `seal_with`: the id of the key that seals; None: the first. Raises `SealingError`."""
        if not keys:
            raise SealingError("no sealing key: give one in HOOKLINE_SEALING_KEY_FILE or HOOKLINE_SEALING_KEYS")
        self._keys: dict[str, AESGCM] = {}
        for key_id, key in keys:
            if len(key) != KEY_BYTES:
                raise SealingError(f"sealing key {key_id!r} has {len(key)} bytes; it must have {KEY_BYTES}")
            if key_id in self._keys:
                raise SealingError(f"there are two sealing keys called {key_id!r}; secrets name the one they need")
            self._keys[key_id] = AESGCM(key)
        self.current_key_id = seal_with if seal_with is not None else keys[0][0]
        if self.current_key_id not in self._keys:
            raise SealingError(
                f"HOOKLINE_SEALING_SEAL_WITH is {seal_with!r}, a key that was not given (given: {self._list_ids()})"
            )

    def has(self, key_id: str) -> bool:
        """Is this key here?"""
        return key_id in self._keys

    def seal(self, secret: bytes, *, context: str, nonce: bytes) -> Sealed:
        """Encrypt under the current key. `nonce`: 12 random bytes, never used twice."""
        sealed = nonce + self._keys[self.current_key_id].encrypt(nonce, secret, context.encode())
        return Sealed(key_id=self.current_key_id, sealed=sealed)

    def unseal(self, sealed: Sealed, *, context: str) -> bytes:
        """Decrypt. Raises `SealingError` when the key is not here or the bytes were changed or moved."""
        key = self._keys.get(sealed.key_id)
        if key is None:
            raise UnsealError(
                sealed.key_id,
                f"a secret is sealed with key {sealed.key_id!r}, which was not given (given: {self._list_ids()})",
            )
        try:
            return key.decrypt(sealed.sealed[:NONCE_BYTES], sealed.sealed[NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce
            raise UnsealError(
                sealed.key_id, f"a secret sealed with key {sealed.key_id!r} does not open: wrong key or changed"
            ) from None

    def _list_ids(self) -> str:
        return ", ".join(sorted(self._keys))


def parse_keys(text: str) -> list[tuple[str, bytes]]:
    """Read `id:base64` words or lines; `#` starts a comment line. Raises `SealingError`."""
    keys = []
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for word in " ".join(lines).split():
        key_id, separator, encoded = word.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError:
            key = b""
        if not (key_id and separator and len(key) == KEY_BYTES):
            raise SealingError(
                f"a sealing key is `id:` and {KEY_BYTES} bytes in base64; the one called {key_id!r} is not"
            )
        keys.append((key_id, key))
    return keys
