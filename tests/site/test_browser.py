"""The built site in a real browser, from a plain file server below a path."""

from __future__ import annotations

from urllib.parse import urldefrag

import pytest

PAGES = {
    "home": "",
    "method": "methods/mdpo/",
    "methods": "methods/",
    "paper": "papers/rlhf-v/",
    "dataset": "datasets/vlfeedback/",
    "benchmark": "benchmarks/object-halbench/",
    "term": "terms/scenario/hallucination/",
    "taxonomy": "terms/",
    "errata": "errata/",
    "guide": "guide/query/",
    "commands": "reference/cli/",
}


def test_pages_ask_no_other_host_and_complain_about_nothing(visit, address):
    tab = visit()
    for path in PAGES.values():
        tab.open(path, until="networkidle")
    elsewhere = [url for url in tab.requests if not url.startswith((address, "data:", "blob:"))]
    assert elsewhere == []
    assert tab.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_never_scrolls_sideways(visit, scheme):
    tab = visit(width=360, scheme=scheme)
    for path in PAGES.values():
        page = tab.open(path)
        width = page.evaluate(
            "Math.max(document.body.scrollWidth, document.documentElement.scrollWidth)"
        )
        assert width <= 360, path
        page.evaluate("window.scrollTo(500, 0)")
        assert page.evaluate("window.scrollX") == 0, path


def test_the_equation_is_mathml_that_is_shown(visit):
    page = visit().open("methods/mdpo/")
    math = page.locator(".equation math").first
    box = math.bounding_box()
    assert box["width"] > 200
    assert box["height"] > 60
    # A browser that did not know MathML would set the fraction in one line.
    over, under = page.locator(".equation mfrac").first.locator("> *").all()
    assert over.bounding_box()["y"] + over.bounding_box()["height"] <= under.bounding_box()["y"] + 2
    # The rows are aligned at their equals signs.
    cells = page.locator(".equation mtr > mtd:nth-child(2)").all()
    left = [cell.locator("mo").first.bounding_box()["x"] for cell in cells]
    assert max(left) - min(left) < 2


def test_parentheses_are_as_high_as_what_they_enclose(visit):
    """With a font of the site's own: without one that has a table MATH they stay small."""
    tab = visit()
    page = tab.open("methods/mdpo/")
    page.evaluate("document.fonts.ready.then(() => null)")
    assert [asked for asked in tab.requests if asked.endswith("/assets/fonts/stix-two-math.woff2")]
    row = page.locator(".equation mtr").nth(1)
    enclosed = row.locator("mfrac").first.bounding_box()["height"]
    heights = [each.bounding_box()["height"] for each in row.locator("mo[fence=true]").all()]
    assert len(heights) == 2
    assert min(heights) >= enclosed


def test_the_search_finds_a_method(visit):
    page = visit().open()
    page.locator("input.md-search__input").click()
    page.keyboard.type("mDPO")
    first = page.locator(".md-search-result__item a").first
    first.wait_for()
    assert "/methods/mdpo/" in first.get_attribute("href")


def test_the_bibtex_can_be_copied(visit):
    page = visit().open("methods/mdpo/")
    block = page.locator("h2#cite ~ .highlight").first
    assert "@inproceedings{mdpo," in block.inner_text()
    assert block.locator("button").count() >= 1


def test_dark_mode_can_be_switched_on(visit):
    page = visit().open("methods/mdpo/")
    body = page.locator("body")

    def look():
        return (
            body.get_attribute("data-md-color-scheme"),
            page.evaluate("getComputedStyle(document.body).backgroundColor"),
        )

    assert look()[0] == "default"
    light = look()
    # Automatic -> light -> dark.
    for _ in range(2):
        page.locator("form[data-md-component=palette] label:visible").click()
    assert look()[0] == "slate"
    assert look()[1] != light[1]
    page.reload()
    assert look()[0] == "slate"


def test_every_link_of_a_method_page_leads_somewhere(visit, address):
    page = visit().open("methods/mdpo/")
    links = page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)")
    inside = {urldefrag(link)[0] for link in links if link.startswith(address)}
    assert len(inside) > 20
    for link in sorted(inside):
        assert page.request.get(link).status == 200, link


def test_a_listing_can_be_filtered_and_sorted(visit):
    page = visit().open("methods/")
    rows = page.locator(".listing tbody tr:visible")
    everything = rows.count()
    page.locator(".listing-tools input").fill("mdpo")
    assert 0 < rows.count() < everything
    assert page.locator(".listing-tools output").inner_text().endswith(f"of {everything}")
    page.locator(".listing-tools input").fill("")
    page.get_by_label("Annotation").select_option("Human")
    assert 0 < rows.count() < everything
    page.get_by_label("Annotation").select_option("")
    page.locator(".listing th button", has_text="Year").click()
    years = [int(text) for text in page.locator(".listing tbody td:nth-child(2)").all_inner_texts()]
    assert years == sorted(years)


def test_the_page_reads_without_scripts(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + "methods/mdpo/")
    assert page.locator("h1").inner_text().startswith("mDPO")
    assert page.locator(".equation math").first.bounding_box()["height"] > 60
    context.close()
