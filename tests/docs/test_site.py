"""The documentation site: it is built without a warning, and needs nothing from outside."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from requirements.site import PAGES, SITE
from tests.docs.conftest import build
from tests.tools import ROOT


class Resources(HTMLParser):
    """Collects what a browser fetches for a page, and the text of its paragraphs."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.paragraphs: list[str] = []
        self.is_paragraph = False
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") not in ("next", "prev", "canonical"):
            self.fetched.append(given.get("href") or "")
        if tag in ("script", "img", "iframe", "source", "video", "audio", "object", "embed"):
            self.fetched += [given[name] or "" for name in ("src", "srcset", "data") if name in given]
        if tag == "p":
            self.is_paragraph = True
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            self.is_paragraph = False

    def handle_data(self, data: str) -> None:
        if self.is_paragraph:
            self.paragraphs[-1] += data


def test_no_page_fetches_anything_from_outside(site: Path) -> None:
    fetched = {
        page: [url for url in Resources(page).fetched if url and not url.startswith("data:")]
        for page in site.rglob("*.html")
    }
    assert len(fetched) > 20
    for page, urls in fetched.items():
        assert any(url.endswith(".js") for url in urls)
        for url in urls:
            # The page of error 404 has absolute paths, as it is shown at any address.
            path = site / url.lstrip("/") if page.name == "404.html" else page.parent / url
            assert path.is_file(), f"{page.name}: {url}"
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet


def test_every_page_is_in_the_site(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    for page in [*pages, *map(Path, PAGES)]:
        name = page.with_name("index.html") if page.name == "README.md" else page.with_suffix(".html")
        assert (site / name).exists(), page


def test_no_list_table_or_block_is_shown_as_its_source(site: Path) -> None:
    source = re.compile(r"^(?:[-*|] |\d+\. |```)|\]\(", re.MULTILINE)
    found = [
        f"{page.relative_to(site)}: {paragraph}"
        for page in site.rglob("*.html")
        for paragraph in Resources(page).paragraphs
        if source.search(paragraph)
    ]
    assert not found, "expected an empty line before a list, a table and a block"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small tree with two pages, which can be built."""
    config = (ROOT / "mkdocs.yml").read_text()
    other = "".join(f"  - {name}\n" for name in PAGES)
    nav = f"nav:\n  - index.md\n  - more/other.md\n{other}\n"
    (tmp_path / "mkdocs.yml").write_text(re.sub(r"^nav:\n(?: .*\n)+", nav, config, flags=re.MULTILINE))
    for name in (*PAGES, "docs/more/other.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("# Title\n\n## Part\n")
    return tmp_path


def write_start(root: Path, text: str) -> Path:
    (root / "docs" / "index.md").write_text(f"# Start\n\n{text}\n")
    return root


def test_a_link_leads_to_a_page_of_the_site_and_any_other_file_is_text(small: Path) -> None:
    links = "[a](more/other.md#part) [b](../SECURITY.md) [c](../bench/README.md) [`m`](../mkdocs.yml)"
    assert build(write_start(small, f"{links}\n\n```text\n[a](nowhere.md)\n```")).returncode == 0
    page = (small / SITE / "index.html").read_text()
    for href in ("more/other.html#part", "SECURITY.html", "bench/index.html"):
        assert f'href="{href}"' in page
    assert "<code>m</code>" in page
    assert "[a](nowhere.md)" in page


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[a](more/nowhere.md)", "more/nowhere.md"),
        ("[a](../nowhere.py)", "nowhere.py"),
        ("[a](more/other.md#nowhere)", "#nowhere"),
        ("[a](#nowhere)", "#nowhere"),
    ],
)
def test_a_link_that_leads_nowhere_ends_the_build_and_is_named(small: Path, text: str, named: str) -> None:
    done = build(write_start(small, text))
    assert done.returncode != 0
    assert named in done.stdout + done.stderr


def test_a_page_that_the_navigation_leaves_out_ends_the_build(small: Path) -> None:
    (small / "docs" / "forgotten.md").write_text("# Forgotten\n")
    done = build(write_start(small, "text"))
    assert done.returncode != 0
    assert "forgotten.md" in done.stdout + done.stderr
