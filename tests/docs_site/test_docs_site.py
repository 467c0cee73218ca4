"""The documentation site: every page is in it, every link leads somewhere, and nothing outside is asked for."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from docs_reference import catalogue_page, cli_page, settings_page
from docs_site import PAGES, ROOT, SECTIONS

from mtlab.cli import COMMANDS

LISTED = {page for pages in SECTIONS.values() for page in pages.split()}


def test_every_page_has_its_place_in_the_contents() -> None:
    there = {str(path.relative_to(ROOT).with_suffix("")) for pattern in PAGES for path in ROOT.glob(pattern)}
    assert there - LISTED == set()
    assert {page for page in LISTED - there if not page.startswith("reference/")} == set()


def test_the_reference_names_every_command_key_and_class() -> None:
    commands = "\n".join(cli_page())
    for names in COMMANDS.values():
        for name in names:
            assert f"### mtlab {name}\n" in commands
    assert "### mtlab track sync\n" in commands
    assert "| `--workers`, `-w` | Runs at once." in commands
    settings = "\n".join(settings_page())
    for name in ("tracking", "train.lr", "record.interventions", "sampler"):
        assert f"| `{name}` |" in settings
    trackers = "\n".join(catalogue_page("trackers"))
    assert "## tensorboard\n" in trackers
    assert "| `folder` |" in trackers


class Links(HTMLParser):
    """What a page links to and loads, and where in it one can go."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.loaded: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.targets.add(given["href"])
        self.loaded |= {given[name] for name in ("src", "srcset", "data") if name in given}
        if tag == "link":
            self.loaded.add(given.get("href", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, str(ROOT / "tools/docs_site.py"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr  # Sphinx warns of links that lead nowhere
    return out


@pytest.mark.slow
def test_links_lead_somewhere_and_nothing_is_loaded_from_outside(site: Path) -> None:
    pages = {path: Links(path.read_text()) for path in site.rglob("*.html")}
    assert len(pages) > 60
    for path, links in pages.items():
        for target in links.loaded | links.targets:
            parts = urlsplit(target)
            if parts.scheme in ("http", "https", "mailto"):
                assert target not in links.loaded, (path.name, target)
                continue
            if parts.scheme == "data":
                continue
            led = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert led.exists(), (path.name, target)
            if parts.fragment and led in pages:
                assert unquote(parts.fragment) in pages[led].places, (path.name, target)
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", style.read_text()), style


@pytest.mark.slow
def test_the_api_is_written_from_docstrings(site: Path) -> None:
    text = (site / "reference/api-plug-ins.html").read_text()
    for name in ("mtlab.managers.base.Manager", "mtlab.tracking.base.Sink", "mtlab.testing.ManagerContract"):
        assert f'id="{name}"' in text
    assert 'id="mtlab.workflow.study.Study' in (site / "reference/api-studies.html").read_text()


@pytest.mark.slow
def test_a_browser_reads_it_from_the_disk_and_finds_words(site: Path, visit: Callable[..., Any]) -> None:
    page = visit(site / "index.html")
    page.get_by_role("link", name="concepts", exact=True).click()
    page.wait_for_url("**/docs/concepts.html")
    assert page.locator("img").count() >= 4
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    page.goto((site / "search.html").as_uri() + "?q=contribution")
    page.get_by_text("Search finished").wait_for()
    assert page.locator("#search-results li").count() > 5
