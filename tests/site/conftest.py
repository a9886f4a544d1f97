"""The site of the real records, built once; a browser; and rendering as mkdocs does it."""

from __future__ import annotations

import functools
import http.server
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mkdocs.utils.yaml import yaml_load

CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def result() -> dict:
    """A made-up result of the lab."""
    return json.loads((Path(__file__).parent / "data" / "red-lantern.json").read_text("utf-8"))


# --- Markdown as the site renders it -------------------------------------------------------------


@dataclass
class Element:
    tag: str
    attributes: dict
    words: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


class Elements(HTMLParser):
    """All elements of a page in order, each with the text inside it."""

    VOID = frozenset(["br", "hr", "img", "input", "meta", "link", "wbr"])

    def __init__(self, html: str):
        super().__init__()
        self.found: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append(Element(tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(self.found[-1])

    def handle_endtag(self, tag):
        while self._open and self._open.pop().tag != tag:
            pass

    def handle_data(self, data):
        for element in self._open:
            element.words.append(data)


@pytest.fixture(scope="session")
def render(checkout: Path) -> Callable[[str], list[Element]]:
    """Markdown of a page -> its elements, with the extensions of mkdocs.yml."""
    import markdown

    listed = yaml_load((checkout / "mkdocs.yml").read_text("utf-8"))["markdown_extensions"]
    names = [each if isinstance(each, str) else next(iter(each)) for each in listed]

    def call(text: str) -> list[Element]:
        body = text.split("---\n", 2)[2] if text.startswith("---\n") else text
        return Elements(markdown.markdown(body, extensions=names)).found

    return call


# --- the built site ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    folder: Path
    output: str
    status: int
    cpu_seconds: float

    @functools.cached_property
    def html(self) -> dict[str, str]:
        return {
            file.relative_to(self.folder).as_posix(): file.read_text(encoding="utf-8")
            for file in sorted(self.folder.rglob("*.html"))
        }


@pytest.fixture(scope="session")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The real site, built strictly as `mmalign site build` does it."""
    folder = tmp_path_factory.mktemp("site") / "atlas"
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=checkout, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, encoding="utf-8", timeout=300,
    )  # fmt: skip
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    return Built(folder, run.stdout + run.stderr, run.returncode, seconds)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def address(built: Built) -> Iterator[str]:
    """Address of the site, served from a plain file server below a path of its own."""
    assert built.status == 0, built.output
    handler = functools.partial(Quiet, directory=str(built.folder.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{built.folder.name}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    """A real browser. It is part of the check, so that it is missing is a failure."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.fail("chromium is not installed: apt-get install -y chromium", pytrace=False)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=CHROMIUM)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A tab, with what it asked for and complained about."""

    page: object
    address: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str = "", until: str = "load") -> object:
        self.page.goto(self.address + path, wait_until=until)
        return self.page


@pytest.fixture
def visit(browser, address: str) -> Iterator[Callable[..., Visit]]:
    """Open a tab: `visit(width=360, scheme="dark")`."""
    contexts = []

    def call(width: int = 1280, scheme: str = "light") -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, locale="en-GB"
        )
        contexts.append(context)
        tab = Visit(context.new_page(), address)
        tab.page.on("request", lambda request: tab.requests.append(request.url))
        tab.page.on(
            "console",
            lambda message: message.type == "error" and tab.complaints.append(message.text),
        )
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        return tab

    yield call
    for context in contexts:
        context.close()
