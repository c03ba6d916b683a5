"""An endpoint made ready for sending: parsed, unsealed, and everything encoded that is the same for every delivery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yarl import URL

from connectors.http.origin import DEFAULT_PORTS, Origin, TargetError, parse_origin
from pipeline.core.records import Endpoint
from pipeline.core.sealing import Sealed, Sealer

USER_AGENT = "hookline-deliver/0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One unsealed signing secret; `valid_until_us`: None for the current one."""

    key: bytes
    valid_until_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`problem`: why nothing can be sent there, as a sentence; then `origin` is None."""

    endpoint: Endpoint
    origin: Origin | None
    problem: str | None
    request_line: bytes
    fixed_head: bytes  # host and the headers that are ours and never change
    headers: Mapping[str, str]  # the subscription's own, lower-case names
    secrets: Sequence[Secret]


def compile_target(endpoint: Endpoint, sealer: Sealer) -> Target:
    """Make an endpoint ready. Raises `SealingError` when a secret cannot be opened: the key is missing or wrong."""
    secrets = [
        Secret(
            key=sealer.unseal(Sealed(key_id=item["key_id"], sealed=item["sealed"]), context=endpoint.subscription_id),
            valid_until_us=item["valid_until_us"],
        )
        for item in endpoint.secrets
    ]
    origin: Origin | None = None
    problem: str | None = None
    url = URL()
    try:
        url = URL(endpoint.url)
        origin = parse_origin(url)
    except TargetError as error:
        problem = str(error)
    except ValueError:
        problem = "the URL cannot be read"
    return Target(
        endpoint=endpoint,
        origin=origin,
        problem=problem,
        request_line=f"{endpoint.method} {url.raw_path_qs or '/'} HTTP/1.1\r\n".encode(),
        fixed_head=f"host: {_format_host(url)}\r\naccept: */*\r\nuser-agent: {USER_AGENT}\r\n".encode(),
        headers={name.lower(): value for name, value in endpoint.headers.items()},
        secrets=secrets,
    )


def _format_host(url: URL) -> str:
    host = url.raw_host or ""
    if ":" in host:
        host = f"[{host}]"
    default = DEFAULT_PORTS.get(url.scheme)
    return host if url.port in (None, default) else f"{host}:{url.port}"
