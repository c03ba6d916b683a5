"""The documentation as a site: it builds strictly, has every page, and loads nothing from elsewhere."""

import re
from pathlib import Path
from time import time

import pytest

from docs.build_site import build_site, list_pages, read_navigation, rewrite_links
from pipeline.core.signing.signature import MacKey, format_standard_secret, sign_standard
from tests.unit.contracts.repository import ROOT, list_documents, name

# What a browser would fetch by itself; a link that a reader may follow is none.
FETCHED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"((?:https?:)?//[^\"]*)\"")
FETCHED_BY_STYLE = re.compile(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^)\"']*)")
NO_PAGES = {
    "tests/support/conformance/NOTICE.md": "a licence, beside what it is about",
    "docs/benchmarks/results/report.md": "written by each run of the benchmarks",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built; a link to a page or a heading that does not exist has failed it."""
    out = tmp_path_factory.mktemp("site")
    build_site(out)
    return out


def test_every_page_is_there(site: Path) -> None:
    """Each page is at the place that its file has in the repository."""
    pages = list_pages(read_navigation())
    places = [site / re.sub(r"(?:^|/)README\.md$", "", page).removesuffix(".md") / "index.html" for page in pages]

    assert [] == [str(place) for place in places if not place.is_file()]


def test_every_document_is_a_page() -> None:
    """A new one gets its line in docs/site.yml."""
    assert sorted(map(name, list_documents())) == sorted({*list_pages(read_navigation()), *NO_PAGES})


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """The site loads neither fonts nor scripts: it is readable without the internet, and no server sees its readers."""
    fetched = [
        f"{path.relative_to(site)}: {found}"
        for pattern, suffix in ((FETCHED, "html"), (FETCHED_BY_STYLE, "css"))
        for path in site.rglob(f"*.{suffix}")
        for found in pattern.findall(path.read_text())
    ]

    assert [] == fetched


def test_links_to_what_is_no_page_become_text() -> None:
    """A site has no code and no folders; links to pages, to other sites and within code blocks stay."""
    text = (
        "[a](api.md#b) [c](../pipeline/cli.py) [d](decisions) [e](https://example.com) [f](#g)\n```\n[h](../x)\n```\n"
    )

    assert "[a](api.md#b) c d [e](https://example.com) [f](#g)\n```\n[h](../x)\n```\n" == rewrite_links(
        text, "docs/tracing.md", frozenset({"docs/api.md"})
    )


def test_the_receivers_page_verifies_what_is_signed() -> None:
    """The page's Python answers yes to a delivery's signature, and no to another body and an old one."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/receivers.md").read_text(), re.DOTALL)
    found: dict[str, object] = {}
    exec(code, found)  # noqa: S102 - our own page
    is_genuine = found["is_genuine"]
    assert callable(is_genuine)
    secret, body = "0190f1a2-0000-7000-8000-000000000001", '{"n":"ü"}'.encode()

    def make(signed_at_s: int) -> dict[str, str]:
        signature = sign_standard(
            [MacKey(b"another"), MacKey(secret.encode())], message_id="1", body=body, signed_at_s=signed_at_s
        )
        return {"webhook-id": "1", "webhook-timestamp": str(signed_at_s), "webhook-signature": signature}

    shown = format_standard_secret(secret)

    assert [True, False, False] == [
        is_genuine(shown, make(int(time())), body),
        is_genuine(shown, make(int(time())), b"x"),
        is_genuine(shown, make(1), body),
    ]
    now = str(int(time()))
    strangers: list[dict[str, str]] = [{}, {"webhook-timestamp": "soon"}, {"webhook-timestamp": now}]
    strangers += [
        make(int(time())) | {name: "\udcff"} for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    ]
    strangers += [make(int(time())) | {"webhook-timestamp": "9" * 5000}]

    assert [False] * 7 == [is_genuine(shown, headers, body) for headers in strangers]
