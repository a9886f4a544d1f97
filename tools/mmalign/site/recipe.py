"""The recipe of a method as a small picture: boxes in a row, made from its facets."""

from __future__ import annotations

from mmalign.records.kb import EntryNode
from mmalign.records.model import Method
from mmalign.site.atlas import Page
from mmalign.site.parts import section
from mmalign.site.text import escape

STEPS = (
    ("Images and prompts", "data_source"),
    ("Responses", "response_source"),
    ("Judged by", "annotation"),
    ("Pairs differ in", "pair_difference"),
    ("Objective", "objective_family"),
)
"""What a box says, and the facet whose terms stand in it."""


def flow(page: Page, node: EntryNode[Method]) -> str:
    """The picture. It is an ordered list, so that it reads as text, too."""
    boxes = []
    for label, facet in STEPS:
        chips = page.chips(node, facet) if facet in page.atlas.kb.facets else ""
        if not chips:
            continue
        if facet == "data_source" and node.entry.trains_on:
            chips += f"<br><small>{page.links('dataset', node.entry.trains_on)}</small>"
        boxes.append(f"<li><b>{escape(label)}</b><span>{chips}</span></li>")
    if len(boxes) < 2:
        return ""
    return section("Recipe", "recipe", f'<div class="flow"><ol>{"".join(boxes)}</ol></div>')
