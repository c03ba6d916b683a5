"""Opening a tunnel through the egress proxy, by CONNECT."""

import asyncio
import socket

from pipeline.core.network.proxy import Proxy

HEAD_MAX_BYTES = 16 * 1024


class ProxyError(Exception):
    """The proxy did not open a tunnel. `status`: what it answered, None when that was no HTTP."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"the egress proxy answered {status}" if status else "the egress proxy did not answer in HTTP")
        self.status = status


async def open_tunnel(sock: socket.socket, proxy: Proxy, authority: str) -> None:
    """Ask for a tunnel to `authority` (host:port) over a connection to the proxy. Raises `ProxyError`, OSError."""
    loop = asyncio.get_running_loop()
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    await loop.sock_sendall(sock, ("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # the endpoint speaks only after us, so nothing can follow the head: what does is nothing we asked for
        data = await loop.sock_recv(sock, 4096)
        head += data
        if not data or len(head) > HEAD_MAX_BYTES or b"\r\n\r\n" in head[:-4]:
            raise ProxyError(_read_status(head))
    status = _read_status(head)
    if status is None or not 200 <= status < 300:
        raise ProxyError(status)


def _read_status(head: bytes) -> int | None:
    version, _, rest = head.partition(b" ")
    status = rest[:3]
    return int(status) if version in (b"HTTP/1.1", b"HTTP/1.0") and len(status) == 3 and status.isdigit() else None
