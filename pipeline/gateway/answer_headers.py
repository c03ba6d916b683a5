"""The headers that every answer has, whatever it says: against misuse by browsers, and for pages of other origins."""

from aiohttp import web

from pipeline.config import GatewayConfig

SECURITY_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("X-XSS-Protection", "1; mode=block"),
    ("Referrer-Policy", "no-referrer"),
)
ANY_ORIGIN = "*"
CORS_METHODS = "GET, POST, PUT, DELETE"
CORS_HEADERS = "Accept, Authorization, Content-Type, Idempotency-Key, If-Match, Range, Hook0-Client-Options"
CORS_EXPOSED = "Accept-Ranges, Content-Range, ETag, Link, Retry-After"
CORS_MAX_AGE_S = 3600


def secure(response: web.StreamResponse) -> None:
    """Add those that no setting changes: also to answers that no application made."""
    for name, value in SECURITY_HEADERS:
        response.headers[name] = value


class AnswerHeaders:
    """Adds these headers to every answer."""

    def __init__(self, config: GatewayConfig) -> None:
        self._origins = frozenset(config.cors_origins.split())
        self._always: tuple[tuple[str, str], ...] = SECURITY_HEADERS
        if config.hsts_max_age_s:
            self._always += (("Strict-Transport-Security", f"max-age={config.hsts_max_age_s}; includeSubDomains"),)

    def add(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Add the headers to an answer that is about to be sent."""
        headers = response.headers
        for name, value in self._always:
            headers[name] = value
        if self._origins:
            self._add_cors(request, response)

    def list_plain(self) -> list[tuple[str, str]]:
        """The headers of an answer to a request without an `Origin`, which came from no page."""
        return [*self._always, *([("Vary", "Origin")] if self._origins else ())]

    def _add_cors(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        headers = response.headers
        headers.add("Vary", "Origin")  # a cache must not give one origin's answer to another
        origin = request.headers.get("Origin")
        if origin is None or not (origin in self._origins or ANY_ORIGIN in self._origins):
            return
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = CORS_EXPOSED
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            headers["Access-Control-Allow-Methods"] = CORS_METHODS
            headers["Access-Control-Allow-Headers"] = CORS_HEADERS
            headers["Access-Control-Max-Age"] = str(CORS_MAX_AGE_S)
