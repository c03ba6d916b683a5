"""The client's address of a request."""

from aiohttp import web

from pipeline.config import GatewayConfig
from pipeline.core.network.addresses import parse_networks
from pipeline.core.network.client_address import Proxies, ProxyHeader
from pipeline.gateway.context import GATEWAY


def read_proxies(config: GatewayConfig) -> Proxies:
    """The proxies that the settings name."""
    return Proxies(networks=parse_networks(config.trusted_proxies), header=ProxyHeader(config.proxy_header))


def find_client_address(request: web.Request) -> str | None:
    """The address of the client: the peer's, or the one that trusted proxies report."""
    proxies = request.app[GATEWAY].proxies
    return proxies.find_client(request.remote, request.headers.getall(proxies.header, ()))
