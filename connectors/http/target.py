"""An endpoint made ready for sending: parsed, unsealed, and everything encoded that is the same for every delivery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connectors.http.client.origin import Origin
from pipeline.core.events.headers import find_header_problem, redact
from pipeline.core.events.records import Endpoint, name_client_key_context
from pipeline.core.network.destination import METHODS, Destination, DestinationError, parse_destination
from pipeline.core.signing.sealing import Sealed, Sealer
from pipeline.core.signing.signature import MacKey
from pipeline.endpoint_tls import TlsIdentity

# What we say of ourselves; a subscription may say it otherwise. No cookies, and no encoding that we would have to undo.
OWN_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "hookline-deliver/0.1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One unsealed signing secret; `valid_until_us`: None for the current one. `mac_key`: the same, ready for use."""

    key: bytes
    valid_until_us: int | None
    mac_key: MacKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mac_key", MacKey(self.key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`problem`: why nothing can be sent there, as a sentence; then `origin` is None.

    `header_problem`: why its headers cannot be sent. `headers`: the subscription's own, lower-case names.
    `shown_headers`: all that never change, as they may be archived.
    """

    endpoint: Endpoint
    origin: Origin | None
    problem: str | None
    header_problem: str | None
    fixed_head: bytes  # the request line, host, and the headers that are ours and never change
    headers: Mapping[str, str]
    shown_headers: Mapping[str, str]
    secrets: Sequence[Secret]


def compile_target(endpoint: Endpoint, sealer: Sealer, *, now_us: int = 0) -> Target:
    """Make an endpoint ready. Raises `UnsealError` when a secret cannot be opened: the key is missing or wrong.

    Secrets that are no longer valid at `now_us` are left out: their key may be gone.
    """
    secrets = [
        Secret(
            key=sealer.unseal(Sealed(key_id=item["key_id"], sealed=item["sealed"]), context=endpoint.subscription_id),
            valid_until_us=item["valid_until_us"],
        )
        for item in endpoint.secrets
        if item["valid_until_us"] is None or item["valid_until_us"] > now_us
    ]
    identity = _read_identity(endpoint, sealer)
    destination: Destination | None = None
    problem: str | None = None
    try:
        destination = parse_destination(endpoint.url)
    except DestinationError as error:
        problem = str(error)
    if endpoint.method not in METHODS:
        destination, problem = None, "the method is not one that deliveries are sent with"
    headers = {name.lower(): value for name, value in endpoint.headers.items()}
    fixed = {"host": destination.authority if destination is not None else ""}
    fixed |= {name: value for name, value in OWN_HEADERS.items() if name not in headers}
    path = destination.path if destination is not None else "/"
    return Target(
        endpoint=endpoint,
        origin=_locate(destination, identity) if destination is not None else None,
        problem=problem,
        header_problem=_find_header_problem(endpoint.headers),
        fixed_head=f"{endpoint.method} {path} HTTP/1.1\r\n{format_headers(fixed)}".encode(),
        headers=headers,
        shown_headers=fixed | redact(headers),
        secrets=secrets,
    )


def format_headers(headers: Mapping[str, str]) -> str:
    """Header lines."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def _find_header_problem(headers: Mapping[str, str]) -> str | None:
    problems = (find_header_problem(name, value) for name, value in headers.items())
    return next((problem for problem in problems if problem is not None), None)


def _locate(destination: Destination, identity: TlsIdentity | None) -> Origin:
    return Origin(destination.is_tls, destination.host, destination.port, identity if destination.is_tls else None)


def _read_identity(endpoint: Endpoint, sealer: Sealer) -> TlsIdentity | None:
    if endpoint.tls_ca_pem is None and endpoint.tls_client_cert_pem is None:
        return None
    key_pem: str | None = None
    if endpoint.tls_client_key is not None:
        sealed = Sealed(key_id=endpoint.tls_client_key["key_id"], sealed=endpoint.tls_client_key["sealed"])
        context = name_client_key_context(endpoint.subscription_id)
        key_pem = sealer.unseal(sealed, context=context).decode(errors="replace")
    return TlsIdentity(ca_pem=endpoint.tls_ca_pem, certificate_pem=endpoint.tls_client_cert_pem, key_pem=key_pem)
