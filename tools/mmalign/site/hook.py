"""Hands the generated pages to mkdocs. Works without an installed mmalign.

Blocks of finished HTML (tables, equations, pictures: one line each) go round Markdown and the
search index, which would take most of the build to walk through tags that they leave as they are.
"""

import re
import sys
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

_BLOCK = re.compile(r"^<(table|div|svg|figure|details)\b[^\n]*</\1>$", re.M)
_MARK = re.compile(r"<p>finished-html-(\d+)</p>")
_blocks: list[str] = []


def on_files(files, config):
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from mmalign.cli import reference
    from mmalign.errors import MmalignError
    from mmalign.site import needs
    from mmalign.site.build import site

    _blocks.clear()  # `mkdocs serve` builds again and again
    if reason := needs.missing():
        raise PluginError(reason)
    root = Path(config.config_file_path).parent
    try:
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


def on_page_markdown(markdown, **_):
    return _BLOCK.sub(_put_aside, markdown)


def _put_aside(match):
    _blocks.append(match[0])
    return f"finished-html-{len(_blocks) - 1}"


def on_post_page(output, **_):
    return _MARK.sub(lambda match: _blocks[int(match[1])], output)
