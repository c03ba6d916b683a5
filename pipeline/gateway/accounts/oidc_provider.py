"""The OpenID provider that the settings name: its login URL, and the identities in its answers.

The authorization code flow with PKCE (RFC 7636), state and nonce, as OpenID Connect Core 1.0 §3.1 has it. Signatures
and claims are checked by joserfc; only asymmetric algorithms are taken, so that no key of ours can be used to sign.
"""

import asyncio
import base64
import hashlib
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from pipeline.config import AccountsConfig
from pipeline.gateway.problems import Problem

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]
TIMEOUT_S = 10.0
ANSWER_MAX_BYTES = 1024 * 1024
KEYS_TTL_S = 3600.0
# an unknown key is requested again, but not for every forged token
KEYS_AGAIN_AFTER_S = 10.0
CLOCKS_DIFFER_S = 60
SUBJECT_MAX_CHARS = 255

log = structlog.get_logger()


class ProviderError(Exception):
    """The provider does not answer, or answers against the standard. The message has nothing secret in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A person's identity at the provider. `email`: None unless the provider has verified it."""

    issuer: str
    subject: str
    email: str | None
    first_name: str
    last_name: str


class Provider:
    """`redirect_url`: where it sends people back to. Its addresses are asked for when they are needed first."""

    def __init__(self, config: AccountsConfig, *, issuer: str, redirect_url: str) -> None:
        self.issuer = issuer
        self._redirect_url = redirect_url
        self._client_id = config.oidc_client_id
        self._client_secret = config.oidc_client_secret
        self._metadata: dict[str, Any] | None = None
        self._keys: KeySet | None = None
        self._keys_at_s = 0.0
        self._lock = asyncio.Lock()

    async def make_url(self, *, state: str, nonce: str, code_verifier: str) -> str:
        """The URL at which a person logs in. Raises `ProviderError`."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_url,
            "scope": "openid email profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        address = await self._find_address("authorization_endpoint")
        return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"

    async def identify(self, code: str, *, nonce: str, code_verifier: str, now_s: int) -> Identity:
        """The identity behind this code, by a token that is valid at `now_s`. Raises `ProviderError`."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_url,
            "client_id": self._client_id,
            "code_verifier": code_verifier,
        }
        if self._client_secret is not None:
            form["client_secret"] = self._client_secret.get_secret_value()
        answer = await self._ask("POST", await self._find_address("token_endpoint"), form)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise ProviderError("its answer has no id_token")
        return self._read(await self._verify(token, now_s), nonce=nonce)

    def _read(self, claims: dict[str, Any], *, nonce: str) -> Identity:
        subject, email = claims.get("sub"), claims.get("email")
        if claims.get("nonce") != nonce or not isinstance(subject, str) or not _is_subject(subject):
            raise ProviderError("the token is another login's")
        audience = claims.get("aud")
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != self._client_id:
            raise ProviderError("the token is another client's")
        is_verified = claims.get("email_verified") in (True, "true") and isinstance(email, str)
        return Identity(
            issuer=self.issuer,
            subject=subject,
            email=email if is_verified else None,
            first_name=_keep_printable(claims.get("given_name") or claims.get("name") or ""),
            last_name=_keep_printable(claims.get("family_name") or ""),
        )

    async def _verify(self, token: str, now_s: int) -> dict[str, Any]:
        for is_last in (False, True):
            keys = await self._find_keys(is_needed_anew=is_last)
            try:
                claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
                jwt.JWTClaimsRegistry(
                    now=now_s,
                    leeway=CLOCKS_DIFFER_S,
                    iss={"essential": True, "value": self.issuer},
                    aud={"essential": True, "value": self._client_id},
                    exp={"essential": True},
                    iat={"essential": True},
                ).validate(claims)
            except (JoseError, ValueError) as error:
                # its key may be newer than those we know
                if is_last:
                    raise ProviderError(f"the token is not valid ({type(error).__name__})") from error
            else:
                return dict(claims)
        raise AssertionError

    async def _find_keys(self, *, is_needed_anew: bool) -> KeySet:
        async with self._lock:
            age_s = time.monotonic() - self._keys_at_s
            if self._keys is None or age_s > (KEYS_AGAIN_AFTER_S if is_needed_anew else KEYS_TTL_S):
                found = await self._ask("GET", await self._find_address("jwks_uri"))
                try:
                    self._keys = KeySet.import_key_set({"keys": found["keys"]})
                except (JoseError, KeyError, ValueError, TypeError) as error:
                    raise ProviderError("its keys cannot be read") from error
                self._keys_at_s = time.monotonic()
            return self._keys

    async def _find_address(self, name: str) -> str:
        if self._metadata is None:
            found = await self._ask("GET", f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self.issuer:
                raise ProviderError("its discovery document names another issuer than HOOKLINE_ACCOUNTS_OIDC_ISSUER")
            self._metadata = found
        address = self._metadata.get(name)
        if not isinstance(address, str):
            raise ProviderError(f"its discovery document has no {name}")
        return address

    async def _ask(self, method: str, url: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
                session.request(method, url, data=form, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise ProviderError(f"it answered {response.status}")
                body = await response.content.read(ANSWER_MAX_BYTES + 1)
                while len(body) <= ANSWER_MAX_BYTES and not response.content.at_eof():
                    body += await response.content.read(ANSWER_MAX_BYTES)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderError(f"it does not answer ({type(error).__name__})") from error
        return _read_object(body)


def _is_subject(subject: str) -> bool:
    """Is the subject of at most 255 ASCII characters (OpenID Connect Core 1.0 §2)?"""
    return 0 < len(subject) <= SUBJECT_MAX_CHARS and subject.isascii() and subject.isprintable()


def _keep_printable(name: object) -> str:
    return "".join(character for character in str(name) if character.isprintable()).strip()


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body) if len(body) <= ANSWER_MAX_BYTES else None
    except orjson.JSONDecodeError as error:
        raise ProviderError("its answer is no JSON") from error
    if not isinstance(found, dict):
        raise ProviderError("its answer is no object, or too large")
    return found


def refuse(error: ProviderError) -> Problem:
    """The problem to answer with."""
    log.warning("oidc_failed", reason=str(error))
    return Problem("AuthFailedLogin", detail=f"The login at the OpenID provider failed: {error}.")
