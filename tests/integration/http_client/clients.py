"""Clients for tests: short time-outs, and loopback allowed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from connectors.http.client.client import HttpClient
from pipeline.config import DeliverConfig

TOTAL_TIMEOUT_S = 0.7


@asynccontextmanager
async def open_client(**settings: Any) -> AsyncIterator[HttpClient]:
    """`settings`: of `DeliverConfig`. All that is left open is closed at the end."""
    short: dict[str, Any] = {"allow_private_addresses": True, "connect_timeout_s": 5, "total_timeout_s": 15}
    client = HttpClient(DeliverConfig(**short | settings))
    try:
        yield client
    finally:
        client.close()
