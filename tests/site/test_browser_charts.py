"""The pictures in a real browser: zooming, keys, no scripts, a phone."""

from __future__ import annotations

import re

import pytest

PICTURES = ["terms/", "graph/", "compare/timeline/", "compare/coverage/", "compare/gaps/"]


def test_pictures_ask_no_other_host_and_complain_about_nothing(visit, address):
    tab = visit()
    for path in PICTURES:
        tab.open(path, until="networkidle")
    assert [url for url in tab.requests if not url.startswith((address, "data:", "blob:"))] == []
    assert tab.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_fit_a_phone(visit, scheme):
    tab = visit(width=360, scheme=scheme)
    for path in PICTURES:
        page = tab.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        page.evaluate("window.scrollTo(500, 0)")
        assert page.evaluate("window.scrollX") == 0, path


def test_without_scripts_pictures_are_links_beside_lists(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + "terms/")
    views = page.locator(".facet-view")
    assert views.count() == page.locator(".facet-view:visible").count() > 5
    page.locator(".facet-tabs a").last.click()
    assert "#" in page.url
    page.locator(".facet-view:visible .slice").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/terms/[\w-]+/[\w-]+/$"))
    page.goto(address + "graph/")
    assert page.locator("#table ~ .listing tr").count() > 50
    assert page.locator(".lineage a").count() > 5
    # Filters are checkboxes that the style sheet listens to.
    line = page.locator(".network .edges .extends").first
    assert line.evaluate("e => getComputedStyle(e).display") != "none"
    page.get_by_label("extends").uncheck()
    assert line.evaluate("e => getComputedStyle(e).display") == "none"
    page.goto(address + "compare/coverage/")
    assert page.locator("table.matrix tbody tr").count() > 20
    page.goto(address + "compare/gaps/")
    assert page.locator("table.matrix").count() == 3
    page.goto(address + "compare/timeline/")
    assert page.locator(".timeline a").count() > 50
    context.close()


# --- taxonomy ------------------------------------------------------------------------------------


def test_a_click_zooms_into_a_term_and_offers_its_entries(visit):
    page = visit().open("terms/")
    assert page.locator(".facet-view:visible").count() == 1
    page.locator(".facet-tabs a", has_text="Application scenario").click()
    view = page.locator(".facet-view:visible")
    slice_ = view.locator('[data-id="general-image"]')
    slice_.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#scenario/general-image"
    page.wait_for_function(
        "document.querySelectorAll('.facet-view:not([hidden]) .slice:not([hidden])').length < 8"
    )
    shown = view.locator(".term-panel a", has_text="Show").first
    assert re.search(r"explorer/\?kind=method&scenario=general-image$", shown.get_attribute("href"))
    number = int(re.search(r"\d+", shown.inner_text())[0])
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('.facet-view:not([hidden]) .slice[hidden]')")
    assert page.evaluate("location.hash") == "#scenario"
    slice_.focus()
    page.keyboard.press("Enter")
    view.locator(".term-panel a", has_text="Show").first.click()
    page.wait_for_function("document.querySelector('output')?.textContent.match(/\\d/)")
    assert re.search(rf"\b{number}\b", page.locator(".explorer output").inner_text())


def test_an_address_brings_back_facet_and_term(visit):
    page = visit().open("terms/#objective_family/reinforcement")
    view = page.locator(".facet-view:visible")
    assert view.locator("h2").get_attribute("id") == "objective_family"
    assert view.locator(".slice[aria-current]").get_attribute("data-id") == "reinforcement"


# --- graph ---------------------------------------------------------------------------------------


WIDE = "Number(document.querySelector('.network-svg').getAttribute('viewBox').split(' ')[2])"


def box_of(page) -> list[float]:
    return [float(n) for n in page.locator(".network-svg").get_attribute("viewBox").split()]


def test_the_graph_zooms_by_buttons_keys_and_wheel(visit):
    page = visit().open("graph/")
    whole = box_of(page)
    page.get_by_role("button", name="Zoom in").click()
    closer = box_of(page)
    assert closer[2] < whole[2]
    page.locator(".network-box").focus()
    page.keyboard.press("ArrowRight")
    assert box_of(page)[0] > closer[0]
    page.keyboard.press("+")
    assert box_of(page)[2] < closer[2]
    page.keyboard.press("0")
    assert box_of(page) == pytest.approx(whole)
    page.locator(".network-box").hover()
    page.mouse.wheel(0, -200)
    # Nobody gets caught: the wheel scrolls the page first.
    assert box_of(page) == pytest.approx(whole)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    page.wait_for_function(f"{WIDE} < {whole[2] - 1}")


def test_a_dragged_graph_follows(visit):
    page = visit().open("graph/")
    page.get_by_role("button", name="Zoom in").click()
    page.locator(".network-box").scroll_into_view_if_needed()
    before, box = box_of(page), page.locator(".network-box").bounding_box()
    page.mouse.move(box["x"] + 500, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 200, steps=4)
    page.mouse.up()
    assert box_of(page)[0] > before[0]
    assert page.locator(".network-svg.chosen").count() == 0


def test_a_chosen_entry_shows_its_neighbours(visit):
    page = visit().open("graph/")
    node = page.locator('.network .nodes a[aria-label^="mDPO,"]')
    node.focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("/graph/")
    card = page.locator(".network-card")
    assert card.locator("strong a").get_attribute("href") == "../methods/mdpo/"
    assert "extends the objective of: DPO" in card.inner_text()
    near = page.locator(".network .nodes a.near").count()
    assert 1 < near < page.locator(".network .nodes a").count()
    card.locator("a", has_text="DPO").nth(1).click()
    assert card.locator("strong a").get_attribute("href") == "../methods/dpo/"
    page.locator(".network-box").focus()
    page.keyboard.press("Escape")
    assert page.locator(".network-svg.chosen").count() == 0


def test_kinds_can_be_left_out(visit):
    page = visit().open("graph/")
    assert page.locator(".network .nodes a.benchmark:visible").count() > 10
    page.get_by_label("Benchmarks", exact=True).uncheck()
    assert page.locator(".network .nodes a.benchmark:visible").count() == 0


# --- coverage ------------------------------------------------------------------------------------


def test_coverage_is_sorted_by_a_column_and_keeps_its_heads(visit):
    page = visit().open("compare/coverage/")
    page.get_by_role("button", name="Sort by Values").click()
    values = [int(t) for t in page.locator("tbody td:nth-child(3)").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    page.get_by_role("button", name="Sort by Method").click()
    names = page.locator("tbody th").all_inner_texts()
    assert names == page.evaluate("n => n.sort((a, b) => a.localeCompare(b, 'en'))", names)
    box = page.locator(".matrix-box")
    box.evaluate("e => e.scrollTo(600, 300)")
    frame = box.bounding_box()
    first = page.locator("tbody th").nth(20).bounding_box()
    assert first["x"] == pytest.approx(frame["x"], abs=2)
    head = page.locator("thead .corner").bounding_box()
    assert head["y"] < frame["y"] + 40
