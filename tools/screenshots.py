"""Pictures of the site for the README, and the card that a shared link shows: `make screenshots`.

Builds the site, serves it from a plain file server, opens it in Chromium, and writes PNG files to
docs/assets/. A page that is missing, empty or complaining ends the run: no picture is better than
one of an error page.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "docs" / "assets"
WIDTH, HEIGHT = 1280, 800
CARD_WIDTH, CARD_HEIGHT = 1200, 630
MOST_BYTES = 200_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Shot:
    """A page and what has to be visible on it (a CSS selector) before the picture is taken."""

    name: str
    path: str
    needs: str


SHOTS = (
    Shot("home", "", ".counts a"),
    Shot("explorer", "explorer/?kind=method&scenario=hallucination", ".explorer tbody tr:visible"),
    Shot("method", "methods/mdpo/", "h1"),
    Shot("comparison", "compare/objectives/#image-text", ".md-content math"),
)


class CannotTake(Exception):
    """A picture cannot be taken; the message says which and why."""


def take(browser, address: str, shot: Shot, folder: Path) -> Path:
    """One picture, in light mode, of the site at `address` (with a slash at its end).

    Raises CannotTake when the page is not there, lacks what the shot needs, or logs an error.
    """
    complaints: list[str] = []
    page = browser.new_page(
        viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", locale="en-GB"
    )
    try:
        page.on("pageerror", lambda error: complaints.append(str(error)))
        answer = page.goto(address + shot.path, wait_until="networkidle")
        if answer is None or answer.status != 200:
            raise CannotTake(f"{shot.name}: there is no page '{shot.path}'")
        if not page.locator(shot.needs).first.is_visible():
            raise CannotTake(f"{shot.name}: '{shot.path}' shows no '{shot.needs}'")
        if complaints:
            raise CannotTake(f"{shot.name}: '{shot.path}' complains: {complaints[0]}")
        return save(page.screenshot(), folder / f"{shot.name}.png")
    finally:
        page.close()


def take_card(browser, file: Path, out: Path) -> Path:
    """The card as a picture. Raises FileNotFoundError without the drawing."""
    drawing = file.read_text(encoding="utf-8")
    page = browser.new_page(viewport={"width": CARD_WIDTH, "height": CARD_HEIGHT})
    try:
        page.set_content(f"<style>body {{ margin: 0 }} svg {{ display: block }}</style>{drawing}")
        return save(page.screenshot(), out)
    finally:
        page.close()


def save(png: bytes, file: Path) -> Path:
    """Write a picture with 256 colours, which a page of text does not miss, and a third the size.

    Raises CannotTake above MOST_BYTES.
    """
    import io

    from PIL import Image

    small = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    if len(small.getvalue()) > MOST_BYTES:
        raise CannotTake(f"{file.name}: {len(small.getvalue())} bytes; at most {MOST_BYTES} may be")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(small.getvalue())
    return file


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address of a folder, served while the context lasts."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def main() -> int:
    """Exit status 1 with one line on stderr when something cannot be built, found or taken."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        print("error: no Chromium on PATH (Debian: apt-get install chromium)", file=sys.stderr)
        return 1
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "--site-dir", folder]
        quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
        if subprocess.call(build, cwd=ROOT, env=quiet):
            print("error: the site cannot be built", file=sys.stderr)
            return 1
        with sync_playwright() as playwright, served(Path(folder)) as address:
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            try:
                print(take_card(browser, ASSETS / "card.svg", ASSETS / "card.png"))
                for shot in SHOTS:
                    print(take(browser, address, shot, ASSETS / "screenshots"))
            except (CannotTake, FileNotFoundError) as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            finally:
                browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
