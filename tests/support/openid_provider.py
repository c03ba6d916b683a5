"""A small OpenID provider for tests: a real HTTP server, with the authorization code flow and PKCE."""

import base64
import hashlib
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "hookline-test", "not very secret"


@dataclass(slots=True)
class Grant:
    """A login, which a code stands for."""

    nonce: str
    challenge: str
    redirect_uri: str


@dataclass(slots=True)
class OpenIdProvider:
    """An async context manager. `claims` replace its tokens'; `is_forging`: it signs with the client's secret."""

    claims: dict[str, Any] = field(default_factory=dict)
    is_forging: bool = False
    codes: dict[str, Grant] = field(default_factory=dict)
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": uuid4().hex, "use": "sig"}))
    issuer: str = ""
    runner: web.AppRunner | None = None

    async def __aenter__(self) -> "OpenIdProvider":
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discover)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._exchange)
        app.router.add_get("/keys", self._list_keys)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.issuer = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.runner is not None
        await self.runner.cleanup()

    def rotate(self) -> None:
        """Another key, which no client has loaded yet."""
        self.key = RSAKey.generate_key(2048, {"kid": uuid4().hex, "use": "sig"})

    async def _discover(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
            }
        )

    async def _authorize(self, request: web.Request) -> web.Response:
        query = request.query
        assert ("code", CLIENT_ID, "S256") == (
            query["response_type"],
            query["client_id"],
            query["code_challenge_method"],
        )
        assert {"openid", "email", "profile"} == set(query["scope"].split())
        code = uuid4().hex
        self.codes[code] = Grant(query["nonce"], query["code_challenge"], query["redirect_uri"])
        answer = urlencode({"code": code, "state": query["state"]})
        return web.Response(status=302, headers={"Location": f"{query['redirect_uri']}?{answer}"})

    async def _exchange(self, request: web.Request) -> web.Response:
        form = await request.post()
        grant = self.codes.pop(str(form["code"]), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(str(form["code_verifier"]).encode()).digest()).rstrip(b"=")
        if (
            grant is None
            or challenge.decode() != grant.challenge
            or form["redirect_uri"] != grant.redirect_uri
            or (form["client_id"], form["client_secret"]) != (CLIENT_ID, CLIENT_SECRET)
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": "248289761001",
            "iat": now,
            "exp": now + 300,
            "nonce": grant.nonce,
            "email": "grace@example.org",
            "email_verified": True,
            "given_name": "Grace",
            "family_name": "Hopper",
        } | self.claims
        if self.is_forging:
            token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET))
        else:
            token = jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)
        return web.json_response({"access_token": uuid4().hex, "token_type": "Bearer", "id_token": token})

    async def _list_keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [self.key.as_dict(private=False)]})
