"""Hands the generated pages to mkdocs. Works without an installed mmalign.

Blocks of finished HTML (one line each) go round Markdown and the search index, which would take
most of the build to walk through them. In the place of each stands a comment, which neither of the
two reads, with a word that changes with every build: no record can hold it.
"""

import re
import secrets
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

_BLOCK = re.compile(r"^<(table|div|svg|figure|details)\b[^\n]*</\1>$", re.M)
_WORD = secrets.token_hex(16)
_MARK = re.compile(rf"<!--{_WORD} (\d+)-->")
_blocks: list[str] = []


def on_files(files: Files, config: MkDocsConfig) -> Files:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from mmalign.cli import reference
    from mmalign.errors import MmalignError
    from mmalign.site import needs
    from mmalign.site.build import site

    _blocks.clear()  # `mkdocs serve` builds again and again
    if reason := needs.missing():
        raise PluginError(reason)
    try:
        root = Path(config.config_file_path).parent
        pages, plain = site(root, config.site_url or "", reference())
    except MmalignError as error:
        raise PluginError(str(error)) from None
    for path, content in pages.items():
        if written := files.get_file_from_path(path):
            files.remove(written)
        files.append(File.generated(config, path, content=content))
    for path, content in plain.items():
        # A plain file called .md must not become a page: it is named so only where it goes.
        file = File.generated(config, path.replace(".md", ".md.txt"), content=content)
        file.dest_uri = path
        files.append(file)
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    return _BLOCK.sub(_put_aside, markdown)


def _put_aside(match: re.Match[str]) -> str:
    _blocks.append(match[0])
    return f"<!--{_WORD} {len(_blocks) - 1}-->"


def on_post_page(output: str, **_: object) -> str:
    return _MARK.sub(lambda match: _blocks[int(match[1])], output)
