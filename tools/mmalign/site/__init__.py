"""The docs site: `pages(kb, results)` makes its pages as Markdown, and touches nothing else.

The pages are plain data, so any site generator can have them: mkdocs through `hook.py`, another one
through `mmalign site build --out DIR`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmalign.records.kb import KnowledgeBase
from mmalign.site import (
    api,
    compare_charts,
    compare_tables,
    entries,
    explorer,
    fragments,
    indexes,
    method,
    network,
    taxonomy,
)
from mmalign.site.atlas import Atlas, path_of
from mmalign.site.parts import join
from mmalign.site.text import front_matter
from mmalign.vocabulary import Json


def pages(
    kb: KnowledgeBase,
    results: Iterable[Json] = (),
    hand_written: Mapping[str, str] | None = None,
    scripts: Mapping[str, str] | None = None,
    commands: str = "",
    smoke: Iterable[Json] = (),
) -> dict[str, str]:
    """Path -> Markdown of every generated page, in the order of paths.

    `results` are the parsed files of reference_impls/results, `smoke` those of its smoke runs,
    `scripts` the sources of its methods by name, `commands` the help of the command line as
    Markdown (`mmalign.cli.reference`; the site stands below the command line and cannot ask for
    it). Of the `hand_written` pages (path -> Markdown) those come back that hold marks of
    `mmalign.site.fragments`, filled in.
    """
    return render(Atlas(kb, results, scripts, smoke), hand_written, commands)


def render(
    atlas: Atlas, hand_written: Mapping[str, str] | None = None, commands: str = ""
) -> dict[str, str]:
    """`pages` of an atlas that is there already."""
    kb = atlas.kb
    made: dict[str, str] = {}
    for ref, text in (
        *((node.ref, method.render(atlas, node)) for node in kb.nodes("method")),
        *((node.ref, entries.dataset(atlas, node)) for node in kb.nodes("dataset")),
        *((node.ref, entries.benchmark(atlas, node)) for node in kb.nodes("benchmark")),
        *((node.ref, entries.model(atlas, node)) for node in kb.nodes("model")),
        *((node.ref, entries.framework(atlas, node)) for node in kb.nodes("framework")),
        *((n.ref, entries.paper(atlas, n)) for n in kb.nodes("paper") if n.ref not in atlas.sole),
        *((node.ref, taxonomy.term(atlas, node)) for node in kb.nodes("term")),
    ):
        made[path_of(ref)] = text
    for kind in indexes.COLUMNS:
        made[path_of(f"{kind}:index")] = indexes.index(atlas, kind)
    for facet in kb.facets.values():
        made[f"terms/{facet.id}/index.md"] = taxonomy.facet(atlas, facet)
    made["terms/index.md"] = taxonomy.overview(atlas)
    made[network.PATH] = network.page(atlas)
    made |= compare_charts.pages(atlas)
    made |= compare_tables.pages(atlas)
    made["errata.md"] = indexes.errata(atlas)
    made["lab/results.md"] = indexes.results(atlas)
    made["reference/cli.md"] = command_line(commands)
    made[explorer.PATH] = explorer.page(atlas)
    made[api.PATH] = api.page(atlas)
    for path, text in (hand_written or {}).items():
        filled = fragments.fill(atlas, path, text)
        if filled != text:
            made[path] = filled
    return dict(sorted(made.items()))


def command_line(commands: str) -> str:
    """The page with the help of every command."""
    return join(
        front_matter("Command line", "Every command of mmalign and its options."),
        "# Command line",
        "Made from the program's own help. Data goes to stdout, notes to stderr.\n{ .lead }",
        commands or "`mmalign --help` lists the commands, `mmalign COMMAND --help` the options.",
    )
