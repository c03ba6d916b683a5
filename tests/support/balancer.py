"""A real balancer (HAProxy) before gateways, as an operator sets one up: round robin, active checks, no affinity."""

import asyncio
import csv
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from tests.support.debian import find_program
from tests.support.eventually import eventually
from tests.support.free_ports import find_free_port

CHECK_MS = 200
# What cannot be sent at all may go to the other one; a request that was sent is never repeated by the balancer.
CONFIGURATION = """
global
    maxconn 2000
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    timeout check 2s
    stats enable
    stats uri /balancer
    option redispatch
    retries 3
    retry-on conn-failure
frontend api
    bind 127.0.0.1:{port}
    default_backend gateways
backend gateways
    balance roundrobin
    option httpchk
    http-check send meth GET uri /api/v1/health
    http-check expect status 200
    default-server check inter {check_ms}ms fall 2 rise 2
{servers}
"""


class Balancer:
    """An async context manager. `servers`: host:port of each gateway."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._servers = servers

    async def __aenter__(self) -> "Balancer":
        program, environ = await asyncio.to_thread(
            find_program,
            "haproxy",
            package="haproxy",
            libraries=("liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"),
        )
        self._port = find_free_port()
        servers = "\n".join(f"    server gateway{number} {each}" for number, each in enumerate(self._servers))
        self._folder = tempfile.TemporaryDirectory(prefix="hookline-test-haproxy-")
        configuration = Path(self._folder.name, "haproxy.cfg")
        text = CONFIGURATION.format(port=self._port, check_ms=CHECK_MS, servers=servers)
        await asyncio.to_thread(configuration.write_text, text)
        self._process = await asyncio.create_subprocess_exec(
            program, "-db", "-f", str(configuration), env=os.environ | environ, stderr=asyncio.subprocess.PIPE
        )
        await eventually(self._is_listening, timeout_s=30)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        self._folder.cleanup()

    async def wait_all_up(self) -> None:
        """Wait until every gateway gets requests, before the next one is stopped, as in any rolling restart."""

        async def are_up() -> bool:
            url = f"http://127.0.0.1:{self._port}/balancer;csv"
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                lines = (await response.text()).removeprefix("# ").splitlines()
            rows = [row for row in csv.DictReader(lines) if row["pxname"] == "gateways" and row["svname"] != "BACKEND"]
            states = {row["svname"]: row["status"] for row in rows}
            assert len(states) == len(self._servers)
            assert set(states.values()) == {"UP"}, states
            return True

        await eventually(are_up, timeout_s=60)

    @property
    def url(self) -> str:
        """The API behind it."""
        return f"http://127.0.0.1:{self._port}/api/v1"

    async def _is_listening(self) -> bool:
        assert self._process.returncode is None, "the balancer has ended"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True
