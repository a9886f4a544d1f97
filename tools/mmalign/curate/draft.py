"""A new record as YAML, with `TODO` wherever only a person who has read the paper can write.

`mmalign validate` reports everything that still says TODO, so that a draft cannot be taken for a
record. What is a term or another id says `todo`: that has the shape of an id, so that no problem of
shape hides what else is left to write.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Mapping
from typing import Any

import yaml

from mmalign.curate.reference import Reference
from mmalign.people import without_suffix
from mmalign.vocabulary import COLLECTIONS, TODO, TODO_ID, Json

SCHEMA = "# yaml-language-server: $schema=../taxonomy/schema/paper.json\n"
"""First line of a draft: an editor that knows it completes keys and shows what is wrong."""
MAX_ID = 80
"""Characters of an id: the name of its file, and of its page, has to be a name of a file."""

# What an entry of a kind needs besides id, name and summary. Where only a few words are allowed
# (`own`, `direction`), the first stands.
SKELETONS: dict[str, Json] = {
    "method": {
        "scenario": [TODO_ID], "modality": [TODO_ID], "data_source": [TODO_ID],
        "response_source": [TODO_ID], "annotation": [TODO_ID],
        "objective": {"family": TODO_ID, "latex": TODO, "place": TODO}, "own": ["objective"],
    },
    "dataset": {"modality": [TODO_ID]},
    "benchmark": {
        "dimension": [TODO_ID], "modality": [TODO_ID],
        "metrics": [{"name": TODO, "direction": "higher"}],
    },
    "model": {"modality": [TODO_ID]},
    "framework": {},
}  # fmt: skip


def id_of(
    reference: Reference, taken: Container[str] = (), last: dict[str, int] | None = None
) -> str:
    """An id for a paper that is not taken.

    What stands before the colon of its title if that is short, else the first author's family name,
    the year, and the first word of the title; where that is taken, the next words follow, then a
    number. `last` remembers numbers between calls, so that a thousand papers of the same words do
    not count up a thousand times.
    """
    ids = _ids(reference)
    for id_ in ids:
        if id_ not in taken:
            return id_
    last = {} if last is None else last
    stem = slug(ids[-1][: MAX_ID - 10])
    while True:
        last[stem] = last.get(stem, 1) + 1
        if (id_ := f"{stem}-{last[stem]}") not in taken:
            return id_


def _ids(reference: Reference) -> list[str]:
    """Ids made of words, the shortest first."""
    head, colon, rest = reference.title.partition(":")
    if colon and len(head.split()) <= 3:
        id_, words = slug(head), slug(rest).split("-")
    else:
        words = slug(reference.title).split("-")
        first = next((number for number, word in enumerate(words) if len(word) > 3), None)
        word = "paper" if first is None else words[first]
        words = words if first is None else words[first + 1 :]
        first_author = reference.authors[0] if reference.authors else "anonymous"
        author = without_suffix(first_author)[0].split()[-1]
        id_ = slug(f"{author} {reference.year or ''} {word}")
    ids = [id_]
    for word in [word for word in words if len(word) > 2][:5]:
        ids.append(slug(f"{ids[-1]} {word}"))
    return ids


def slug(text: str) -> str:
    """A text as an id: lower case, hyphens, not longer than a file name can be."""
    plain = unicodedata.normalize("NFKD", text[: 4 * MAX_ID]).casefold()
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    plain = re.sub(r"[^a-z0-9]+", "-", plain.replace("++", "-plus-plus")).strip("-")
    return plain[:MAX_ID].strip("-") or "paper"


def source_of(reference: Reference) -> str | None:
    """Where a reference can be looked up, in the form of an evidence source."""
    if reference.arxiv:
        old = "/" in reference.arxiv  # before April 2007; records have no field for such an id
        return abstract(reference.arxiv) if old else f"arxiv:{reference.arxiv}#abstract"
    if reference.doi:
        return f"https://doi.org/{reference.doi}"
    if reference.acl:
        return f"https://aclanthology.org/{reference.acl}/"
    return reference.url


def abstract(arxiv: str) -> str:
    """Where a paper of arXiv is read."""
    return f"https://arxiv.org/abs/{arxiv}"


def record(
    reference: Reference,
    id_: str,
    today: str,
    source: str,
    *,
    kind: str | None = None,
    entry: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Json:
    """A record as plain data, in the order of its fields.

    `source` is where the bibliography was read (an evidence source), `entry` what is known of its
    contribution of the given `kind`, `fields` further fields of the paper, `today` an ISO date.
    """
    fields = dict(fields or {})
    arxiv: str | None = reference.arxiv
    page = fields.pop("page", None)
    if arxiv and "/" in arxiv:  # before April 2007
        page, arxiv = page or abstract(arxiv), None
    evidence: list[Json] = [
        {"for": ["bibliography"], "source": source, "status": "reported", "checked": today}
    ]
    if reference.year is None:
        evidence[0]["note"] = f"{TODO}: the year is not known; {today[:4]} stands for it"
    bibliography = {
        "id": id_,
        "type": "paper",
        "title": reference.title,
        "authors": list(reference.authors) or [TODO],
        "year": reference.year or int(today[:4]),
        "venue": reference.venue or TODO,
        "arxiv": arxiv,
        "openreview": reference.openreview,
        "doi": reference.doi,
        "code": fields.pop("code", None),
        "page": page,
        "beyond_survey": True,
        "summary": fields.pop("summary", None) or f"{TODO}: what it shows, in our own words.",
    }
    data = {name: value for name, value in bibliography.items() if value is not None}
    if kind is not None:
        entry = dict(entry or {})
        own = {
            "id": entry.pop("id", None) or id_,
            "name": entry.pop("name", None) or reference.title.partition(":")[0],
            "summary": entry.pop("summary", None) or f"{TODO}: what it is, in our own words.",
            **SKELETONS[kind],
            **entry,
        }
        data[COLLECTIONS[kind]] = [own]
        covered = f"{COLLECTIONS[kind]}.{own['id']}"
        whole = [covered]
        if kind == "method":
            whole = [f"{covered}.{part}" for part in ("facets", "objective")]
            whole += [f"{covered}.claims"] if own.get("claims") else []
        evidence.append(
            {"for": whole, "source": source, "status": "reported", "checked": today,
             "note": f"{TODO}: open the paper; say where each was read"}
        )  # fmt: skip
    data |= {name: value for name, value in fields.items() if value is not None}
    data["evidence"] = evidence
    return data


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, no anchors, long texts folded."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else ">" if len(text) > 70 else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(data: Mapping[str, Any]) -> str:
    """A record as the text of its file."""
    return SCHEMA + yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=96)
