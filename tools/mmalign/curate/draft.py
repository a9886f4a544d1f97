"""A new record as YAML, with `TODO` wherever only a person who has read the paper can write.

`mmalign validate` reports what still says TODO, so that a draft cannot be taken for a record.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

import yaml

from mmalign.curate.reference import Reference
from mmalign.vocabulary import COLLECTIONS

TODO = "TODO"
"""A text that begins with this is still to be written."""

# What an entry of a kind needs besides id, name and summary, as TODO or in its emptiest form.
SKELETONS: dict[str, dict] = {
    "method": {
        "scenario": [], "modality": ["image"], "data_source": ["not-stated"],
        "response_source": ["not-stated"], "annotation": ["not-stated"],
        "objective": {"family": "dpo", "latex": "TODO", "place": "TODO"}, "own": ["objective"],
    },
    "dataset": {"modality": ["image"]},
    "benchmark": {
        "dimension": [], "modality": ["image"],
        "metrics": [{"name": "TODO", "direction": "higher"}],
    },
    "model": {"modality": ["image"]},
    "framework": {},
}  # fmt: skip


def id_of(reference: Reference) -> str:
    """An id for a paper: what stands before the colon of its title if that is short, else the first
    author's family name, the year, and the first word of the title."""
    head, colon, _ = reference.title.partition(":")
    if colon and len(head.split()) <= 3:
        return slug(head)
    author = reference.authors[0].split()[-1] if reference.authors else "anonymous"
    word = next((w for w in slug(reference.title).split("-") if len(w) > 3), "paper")
    return slug(f"{author} {reference.year or ''} {word}")


def slug(text: str) -> str:
    """A text as an id: lower case, hyphens."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return re.sub(r"[^a-z0-9]+", "-", plain.replace("++", "-plus-plus")).strip("-") or "paper"


def record(
    reference: Reference,
    id_: str,
    today: str,
    source: str,
    *,
    kind: str | None = None,
    entry: Mapping | None = None,
    fields: Mapping | None = None,
) -> dict:
    """A record as plain data, in the order of its fields.

    `source` is where the bibliography was read (an evidence source), `entry` what is known of its
    contribution of the given `kind`, `fields` further fields of the paper, `today` an ISO date.
    """
    fields = dict(fields or {})
    bibliography = {
        "id": id_,
        "type": "paper",
        "title": reference.title,
        "authors": list(reference.authors) or [TODO],
        "year": reference.year or int(today[:4]),
        "venue": reference.venue or TODO,
        "arxiv": reference.arxiv,
        "openreview": reference.openreview,
        "doi": reference.doi,
        "code": fields.pop("code", None),
        "page": fields.pop("page", None),
        "beyond_survey": True,
        "summary": fields.pop("summary", None) or f"{TODO}: what it shows, in our own words.",
    }
    data = {name: value for name, value in bibliography.items() if value is not None}
    evidence = [{"for": ["bibliography"], "source": source, "status": "reported", "checked": today}]
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

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data):
        return True


def _text(dumper: yaml.Dumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else ">" if len(text) > 70 else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(data: Mapping) -> str:
    """A record as the text of its file."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=96)
