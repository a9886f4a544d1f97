"""RIS of papers: what EndNote, Mendeley and most libraries read.

A line is a tag of two characters, two blanks, a hyphen, a blank and a value; `TY` begins a record
and `ER` ends it. Types: `CPAPER` a paper of a conference, `JOUR` of a journal, `UNPB` not published
(a preprint), `COMP` a program.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmalign.export.csl import to_csl
from mmalign.vocabulary import Json

_TYPES = {
    "paper-conference": "CPAPER", "article-journal": "JOUR", "article": "UNPB", "software": "COMP",
}  # fmt: skip
_TAGS = {"DOI": "DO", "URL": "UR", "archive_location": "AN", "publisher": "PB"}


def to_ris(papers: Iterable[Json]) -> str:
    """Paper summaries (`mmalign.ask.views.paper_summary`) as RIS, each once; `ID` is our id."""
    return "\n".join(_record(item) for item in to_csl(papers))


def _record(item: Json) -> str:
    lines = [("TY", _TYPES[item["type"]]), ("ID", item["id"]), ("TI", item["title"])]
    lines += [("AU", _author(author)) for author in item["author"]]
    lines.append(("PY", str(item["issued"]["date-parts"][0][0])))
    if "container-title" in item:
        journal = item["type"] == "article-journal"
        lines.append(("JO" if journal else "T2", item["container-title"]))
    lines += [(tag, item[field]) for field, tag in _TAGS.items() if field in item]
    return "".join(f"{tag}  - {value}\n" for tag, value in lines) + "ER  - \n"


def _author(author: dict[str, str]) -> str:
    """`Family, Given, Suffix`, particles before the family name."""
    if "literal" in author:
        return author["literal"]
    family = " ".join(filter(None, (author.get("non-dropping-particle"), author["family"])))
    return ", ".join(filter(None, (family, author.get("given"), author.get("suffix"))))
