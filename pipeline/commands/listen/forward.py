"""Passes deliveries on to a developer's own server unchanged, so that signatures hold, and its answers back."""

from types import TracebackType

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from pipeline.commands.listen.arrival import Arrival

TIMEOUT_S = 60.0
IN_FLIGHT_MAX = 100
ANSWER_MAX_BYTES = 1024 * 1024
NOT_REACHED = 502
# of this connection, not of the request
HOP_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "transfer-encoding", "upgrade"}
)


class Forward:
    """Forwards deliveries to `url`, whatever path they came to. An async context manager."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> "Forward":
        self._session = ClientSession(
            timeout=ClientTimeout(total=TIMEOUT_S),
            connector=TCPConnector(limit=IN_FLIGHT_MAX),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def pass_on(self, arrival: Arrival) -> tuple[int, bytes]:
        """Status and body of its answer; 502 with the reason when there is none."""
        headers = {name: value for name, value in arrival.headers.items() if name not in HOP_HEADERS}
        try:
            async with self._session.request(
                arrival.method, self._url, data=arrival.body, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status, await answer.content.read(ANSWER_MAX_BYTES)
        except (ClientError, TimeoutError, OSError, ValueError) as error:
            return NOT_REACHED, f"{self._url} did not answer: {error or type(error).__name__}\n".encode()
