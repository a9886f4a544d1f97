"""Hands the generated pages to mkdocs. Works without an installed mmalign."""

import sys
from pathlib import Path

from mkdocs.structure.files import File


def on_files(files, config):
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from mmalign.site.build import site_pages

    for path, content in site_pages(Path(config.config_file_path).parent).items():
        if written := files.get_file_from_path(path):
            files.remove(written)
        files.append(File.generated(config, path, content=content))
    return files
