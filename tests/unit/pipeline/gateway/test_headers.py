import pytest
from aiohttp.test_utils import make_mocked_request

from pipeline.gateway.headers import link_to

TARGET = "/api/v1/request_attempts?application_id=x&event.event_type_names=a%2Cb%3E%22%0D%0A%C3%BC"


@pytest.mark.parametrize(
    ("public_url", "start"),
    [
        (None, "http://gateway.test:81/api/v1/"),
        ("https://hooks.example.com", "https://hooks.example.com/api/v1/"),
        ("https://hooks.example.com/", "https://hooks.example.com/api/v1/"),
        ("https://example.com/hooks", "https://example.com/hooks/api/v1/"),
        ("https://example.com/a%20b/c/", "https://example.com/a%20b/c/api/v1/"),
    ],
)
def test_a_link_keeps_address_path_and_query(public_url: str | None, start: str) -> None:
    """A path in the public URL stays, and nothing of the query can end the header or the link (RFC 8288 §3)."""
    link = link_to(make_mocked_request("GET", TARGET, {"Host": "gateway.test:81"}), public_url, cursor="c=")

    assert link.startswith(start + "request_attempts?application_id=x&event.event_type_names=a%2Cb%3E%22%0D%0A%C3%BC&")
    assert link.endswith("cursor=c%3D")
    assert not set(' "<>\r\n') & set(link)
