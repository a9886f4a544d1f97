"""The issue form "Add a paper": made from the taxonomy, and read back into a draft.

`python -m mmalign.curate.issue_form` writes `.github/ISSUE_TEMPLATE/add-a-paper.yml`; a test keeps
it fresh. GitHub turns a filled form into Markdown, a heading per question; `read` takes that text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mmalign.curate import identifiers
from mmalign.curate.reference import Reference
from mmalign.errors import BadReference
from mmalign.records.model import Facet
from mmalign.vocabulary import COLLECTIONS, TODO, TODO_ID, Json

FILE = ".github/ISSUE_TEMPLATE/add-a-paper.yml"
MAX_BYTES = 1_000_000
"""Of a form that is read: many times as much as the text of an issue may have."""
NO_ANSWER = ("", "_No response_", "None")
TITLE, AUTHORS, YEAR, VENUE = "Title", "Authors", "Year", "Venue"
LINKS = {"arXiv id": "arxiv", "Official code": "code", "Where it was read": "source"}
KIND, NAME, SUMMARY = "What it contributes", "Name of the contribution", "Summary"
EQUATION, PLACE, CLAIM = (
    "Objective in LaTeX",
    "Where the paper has it",
    "A claim that a run can test",
)
FACETS = {
    "Scenario": "scenario",
    "Modality": "modality",
    "Data source": "data_source",
    "Response source": "response_source",
    "Annotation": "annotation",
    "Objective family": "objective_family",
    "Benchmark dimension": "benchmark_dimension",
}
"""Question -> facet whose terms are its answers."""
FACETS_OF = {
    "method": ("Scenario", "Modality", "Data source", "Response source", "Annotation"),
    "dataset": ("Scenario", "Modality", "Data source", "Response source", "Annotation"),
    "benchmark": ("Benchmark dimension", "Modality"),
    "model": ("Modality",),
    "framework": (),
}


@dataclass(frozen=True)
class Filled:
    """A filled form: the reference, the kind of its contribution, fields of the entry and paper."""

    reference: Reference
    source: str
    kind: str | None = None
    entry: Json = field(default_factory=dict)
    fields: Json = field(default_factory=dict)


def read(text: str) -> Filled:
    """A form as GitHub prints it. Raises BadReference with the question that is not answered."""
    answers = _answers(text)
    asked = {TITLE, AUTHORS, YEAR, VENUE, KIND, NAME, SUMMARY, EQUATION, PLACE, CLAIM}
    questions = asked | set(FACETS) | set(LINKS)
    if TITLE not in answers and not set(answers) & questions:
        raise BadReference("this is not the text of the form: no heading `### Title`")
    for question in (TITLE, AUTHORS, YEAR, "Where it was read"):
        if not answers.get(question):
            raise BadReference(f"the question '{question}' is not answered")
    year = re.fullmatch(r"\d{4}", answers[YEAR])
    if year is None:
        raise BadReference(f"'{answers[YEAR]}' is not a year (question '{YEAR}')")
    arxiv = None
    if answers.get("arXiv id"):
        try:
            arxiv = identifiers.arxiv_id(answers["arXiv id"])
        except BadReference as error:
            raise BadReference(f"{error} (question 'arXiv id')") from None
    names = (name.strip() for name in re.split("[\n;,]", answers[AUTHORS]))
    reference = Reference(
        key=arxiv or answers[TITLE],
        title=answers[TITLE],
        authors=tuple(filter(None, names)),
        year=int(year[0]),
        venue=answers.get(VENUE) or ("arXiv" if arxiv else None),
        arxiv=arxiv,
    )
    kind = (answers.get(KIND) or "").lower() or None
    if kind is not None and kind not in COLLECTIONS:
        raise BadReference(f"'{kind}' is not one of {', '.join(COLLECTIONS)} (question '{KIND}')")
    fields = {"code": answers.get("Official code"), "summary": answers.get(SUMMARY)}
    return Filled(reference, answers["Where it was read"], kind, _entry(kind, answers), fields)


def _answers(text: str) -> dict[str, str]:
    """Question -> answer, without those left open. A LaTeX answer stands in a code block."""
    # Blanks at the end are not left to the expression, which would try each of them.
    parts = re.split(r"^### +(\S.*)$", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    found = {}
    for question, answer in zip(map(str.rstrip, parts[1::2]), parts[2::2], strict=True):
        answer = re.sub(r"^```\w*\n|\n```$", "", answer.strip()).strip()
        if answer not in NO_ANSWER:
            found[question] = answer
    return found


def _entry(kind: str | None, answers: Mapping[str, str]) -> Json:
    if kind is None:
        return {}
    entry: Json = {"name": answers.get(NAME)}
    for question in FACETS_OF[kind]:
        terms = [t for t in re.split(r"[\s,;]+", answers.get(question, "")) if t]
        if terms:
            entry[FACETS[question].replace("benchmark_", "")] = terms
    if kind == "method":
        entry["objective"] = {
            "family": answers.get("Objective family") or TODO_ID,
            "latex": answers.get(EQUATION) or TODO,
            "place": answers.get(PLACE) or TODO,
        }
        if answers.get(CLAIM):
            claim = {"id": "first-claim", "text": answers[CLAIM], "metric": TODO}
            entry["claims"] = [{**claim, "direction": "lower", "against": "dpo", "place": TODO}]
    return {name: value for name, value in entry.items() if value is not None}


def form(facets: Mapping[str, Facet]) -> str:
    """The form as the text of its file."""

    def ask(
        kind: str, label: str, description: str = "", required: bool = False, **more: Any
    ) -> Json:
        about = {"label": label, **({"description": description} if description else {}), **more}
        block = {"type": kind, "id": re.sub(r"\W+", "-", label.lower()), "attributes": about}
        return {**block, "validations": {"required": True}} if required else block

    def choose(label: str) -> Json:
        terms = [term.id for term in facets[FACETS[label]].terms]
        single = label == "Objective family"
        return ask("dropdown", label, multiple=not single, options=terms)

    opened = "An arXiv section (`arxiv:2406.11839#3.1`), a file at a commit, or an address."
    body = [
        ask("input", TITLE, required=True),
        ask("input", "arXiv id", "Such as 2406.11839."),
        ask("textarea", AUTHORS, "All of them, one a line, given name first.", True),
        ask("input", YEAR, required=True),
        ask("input", VENUE, "As finally published, short: CVPR 2025. Else arXiv."),
        ask("input", "Official code", "Address of the repository."),
        ask("input", "Where it was read", opened, True),
        ask("textarea", SUMMARY, "Two or three sentences of your own."),
        ask("dropdown", KIND, options=list(COLLECTIONS)),
        ask("input", NAME),
        *(choose(label) for label in FACETS),
        ask("textarea", EQUATION, "As the paper has it, without dollar signs.", render="latex"),
        ask("input", PLACE, "Such as `equation 7`."),
        ask("textarea", CLAIM, "What a run on held-out data would show, and against which method."),
    ]
    head = {
        "name": "Add a paper",
        "description": "A paper, method, dataset or benchmark that the atlas does not have.",
        "labels": ["new-record"],
    }
    text = yaml.safe_dump({**head, "body": body}, sort_keys=False, allow_unicode=True, width=96)
    return "# Made by `python -m mmalign.curate.issue_form`; do not edit.\n" + text


def main() -> None:
    """Write the form of this checkout."""
    from mmalign.records.read import load
    from mmalign.records.root import find_root

    root = Path(find_root())
    path = root / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(form(load(root).facets), encoding="utf-8")
    print(path.relative_to(root))


if __name__ == "__main__":
    main()
