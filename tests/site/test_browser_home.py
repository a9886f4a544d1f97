"""Home page and guides in a real browser, and the script that takes pictures of the site."""

from __future__ import annotations

import importlib.resources
import re

import pytest

import screenshots

PAGES = [
    "", "guide/start-here/", "guide/choose-a-method/", "guide/run-on-your-data/",
    "lab/how-it-works/", "about/publishing/",
]  # fmt: skip


def test_the_search_leads_into_the_explorer_and_a_shortcut_too(visit, address):
    page = visit().open()
    page.get_by_label("Method, data set").fill("mdpo")
    page.keyboard.press("Enter")
    page.wait_for_url(address + "explorer/?text=mdpo")
    rows = page.locator(".explorer tbody tr:visible")
    assert 0 < rows.count() < 100
    assert rows.filter(has_text=re.compile("^mDPO")).count() >= 1

    page.goto(address)
    chip = page.locator(".shortcuts a.chip", has_text="Video").first
    count = int(re.search(r"\d+", chip.inner_text())[0])
    chip.click()
    page.wait_for_url("**/explorer/?kind=method&scenario=video")
    assert rows.count() == count


def test_the_search_works_without_scripts(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    page.locator("#find-text").fill("mdpo")
    page.locator(".find button").click()
    page.wait_for_url(address + "explorer/?text=mdpo")
    assert page.locator("h1").inner_text().startswith("Explore")
    context.close()


def test_a_list_of_a_guide_opens_as_the_same_list_in_the_explorer(visit, address):
    page = visit().open("guide/choose-a-method/")
    heading = page.locator("#safety-it-answers-what-it-should-refuse-or-is-easily-attacked")
    link = heading.locator("xpath=following-sibling::p/a[contains(@href, 'explorer')]").first
    count = int(re.search(r"\d+", link.locator("xpath=..").inner_text())[0])
    link.click()
    page.wait_for_url("**/explorer/?kind=method&scenario=safety")
    assert page.locator(".explorer tbody tr:visible").count() == count


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_never_scrolls_sideways(visit, scheme):
    tab = visit(width=360, scheme=scheme)
    for path in PAGES:
        page = tab.open(path)
        width = page.evaluate(
            "Math.max(document.body.scrollWidth, document.documentElement.scrollWidth)"
        )
        assert width <= 360, path
    assert tab.complaints == []


def test_the_home_page_is_used_by_keyboard(visit, address):
    page = visit().open()
    field = page.locator("#find-text")
    field.focus()
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Search"
    assert page.evaluate(outline) != "none"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.classList.contains('chip')")


def luminance(colour: str) -> float:
    channels = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_new_texts_can_be_read(visit, scheme):
    page = visit(scheme=scheme).open()
    for selector in (".find label", ".find button", ".shortcuts strong", ".news .note"):
        front, back = page.locator(selector).first.evaluate(
            """element => {
              let behind = element;
              const clear = (it) => getComputedStyle(it).backgroundColor.endsWith(', 0)');
              while (clear(behind) && behind.parentElement) behind = behind.parentElement;
              return [element, behind].map((it, n) =>
                getComputedStyle(it)[n ? 'backgroundColor' : 'color']);
            }"""
        )
        light, dark = sorted((luminance(front), luminance(back)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{selector}: {front} on {back}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_whole_pages_have_no_serious_fault(visit, address, scheme):
    script = (importlib.resources.files("axe_core_python") / "axe.min.js").read_text("utf-8")
    tab = visit(scheme=scheme)
    for path in PAGES[:4]:
        page = tab.open(path, until="networkidle")
        page.evaluate(script)
        found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
        serious = [each["id"] for each in found if each["impact"] in ("serious", "critical")]
        assert serious == [], path
    elsewhere = [url for url in tab.requests if not url.startswith((address, "data:", "blob:"))]
    assert elsewhere == []


# --- tools/screenshots.py ------------------------------------------------------------------------


def test_a_picture_is_taken(browser, address, tmp_path):
    file = screenshots.take(browser, address, screenshots.SHOTS[0], tmp_path)
    assert file == tmp_path / "home.png"
    assert 10_000 < file.stat().st_size < screenshots.MOST_BYTES


def test_every_page_that_the_readme_shows_is_there(built):
    for shot in screenshots.SHOTS:
        path = shot.path.partition("#")[0].partition("?")[0]
        assert f"{path}index.html" in built.html, shot.name


@pytest.mark.parametrize(
    ("path", "needs", "message"),
    [
        ("no-such-page/", "h1", "there is no page 'no-such-page/'"),
        ("", ".no-such-thing", "shows no '.no-such-thing'"),
    ],
)
def test_a_missing_page_is_an_error_and_leaves_no_picture(
    browser, address, tmp_path, path, needs, message
):
    with pytest.raises(screenshots.CannotTake, match=re.escape(message)):
        screenshots.take(browser, address, screenshots.Shot("x", path, needs), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_is_too_large_is_an_error(browser, address, tmp_path, monkeypatch):
    monkeypatch.setattr(screenshots, "MOST_BYTES", 100)
    with pytest.raises(screenshots.CannotTake, match="at most 100"):
        screenshots.take(browser, address, screenshots.SHOTS[0], tmp_path)
    assert list(tmp_path.iterdir()) == []
