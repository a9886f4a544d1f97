"""Rules about evidence: its form, what it covers, and what it must cover."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from mmalign.characters import quoted
from mmalign.check.context import Context
from mmalign.records.model import Erratum, Method, Paper
from mmalign.records.problems import Finding, Location
from mmalign.vocabulary import COLLECTIONS, TERM_FIELDS

METHOD_FACETS = tuple(f for f in TERM_FIELDS["method"] if "." not in f and f != "addresses")

BIBLIOGRAPHY = ("title", "authors", "year", "venue", "arxiv", "openreview", "doi")
"""Fields that an evidence for `bibliography` covers."""

SOURCE = re.compile(
    r"arxiv:[0-9]{4}\.[0-9]{4,5}(v[0-9]+)?(#\S.*)?"
    r"|repo:[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+@[0-9a-f]{7,40}"
    r'(:[^\s#:<>"`\\][^#:<>"`\\]*(#L[0-9]+(-L?[0-9]+)?)?)?'
    r'|https?://[^\s/<>"{}|\\^`]+\.[^\s<>"{}|\\^`]+'
)
SOURCE_FORMS = (
    "`arxiv:2503.14504#3.1`, `repo:owner/name@0123abc:path/file.py#L10-L20` (7 to 40 hexadecimal "
    "digits) or an address `https://...`"
)


_PREVIEW_LABEL = re.compile(r"((deploy|pr)-)?previews?(-.*)?|staging(-.*)?|stage")
_VERCEL_BRANCH = re.compile(r"-git-|-(?=[a-z]*\d)[0-9a-z]{9}-")


def is_preview(address: str) -> bool:
    """Does an address lead to a preview or staging deployment, which goes when its branch does?"""
    host = re.match(r"https?://(?:[^/?#\s@]*@)?([^/?#\s:]+)", address.lower())
    if host is None:
        return False
    parts: list[str] = ["", "", *host.group(1).split(".")]
    labels, site = parts[:-2], ".".join(parts[-2:])
    return (
        any(_PREVIEW_LABEL.fullmatch(label) for label in labels)
        or site == "pages.dev"
        or (site == "vercel.app" and _VERCEL_BRANCH.search(labels[-1]) is not None)
        or (site in ("netlify.app", "web.app") and "--" in labels[-1])
    )


def evidence_sources(context: Context) -> Iterator[Finding]:
    """A source has one of three forms, and a check has a day that has been."""
    for file, paper in context.records.papers.items():
        for number, item in enumerate(paper.evidence):
            at = ("evidence", number)
            if not SOURCE.fullmatch(item.source):
                message = f"{quoted(item.source)} is not the form of a source"
                yield Finding("R009", file, (*at, "source"), message, f"write {SOURCE_FORMS}")
            yield from _date(context, file, (*at, "checked"), item.checked)
    for file, errata in context.records.errata.items():
        for number, erratum in enumerate(errata.errata):
            at = ("errata", number)
            if not SOURCE.fullmatch(erratum.proof):
                message = f"{quoted(erratum.proof)} is not the form of a source"
                yield Finding("R009", file, (*at, "proof"), message, f"write {SOURCE_FORMS}")
            yield from _date(context, file, (*at, "checked"), erratum.checked)
            yield from _since(context, file, (*at, "since"), erratum)


def published_addresses(context: Context) -> Iterator[Finding]:
    """No address, of whatever field, leads to a preview."""
    roots: tuple[tuple[str, BaseModel], ...] = (
        *context.records.papers.items(),
        *context.records.errata.items(),
    )
    for file, root in roots:
        for location, address in _addresses(root, ()):
            if is_preview(address):
                message = f"{quoted(address)} is a preview, which will be taken down"
                hint = "write the address at which it is published"
                yield Finding("R022", file, location, message, hint)


def _addresses(value: Any, location: Location) -> Iterator[tuple[Location, str]]:
    if isinstance(value, str):
        if value.startswith(("http://", "https://")):
            yield location, value
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from _addresses(item, (*location, number))
    elif isinstance(value, BaseModel):
        for name, item in value:
            if isinstance(item, str | tuple | BaseModel):
                yield from _addresses(item, (*location, name))


def _since(context: Context, file: str, location: Location, erratum: Erratum) -> Iterator[Finding]:
    since = erratum.since
    if since is None:
        return
    if erratum.severity != "outdated-since":
        message = f"`since` has no meaning where the severity is {erratum.severity}"
        hint = "leave it out, or write `severity: outdated-since`"
        yield Finding("R024", file, location, message, hint)
    first = since + "-01-01"[len(since) - len("2026") :]  # of a year or month its first day
    hint = "write the year, month or day since which it is outdated, as 2026-01"
    yield from _date(context, file, location, first, hint)


def measured_elsewhere(context: Context) -> Iterator[Finding]:
    """A number that is not the paper's own says where it stands."""
    for place in context.methods():
        own, method = place.paper.arxiv, place.entry
        assert isinstance(method, Method)
        path = f"methods.{method.id}"
        for number, result in enumerate(method.results):
            at = (*place.location, "results", number)
            if result.measured_by is not None:
                where = (*at, "measured_by")
                if not SOURCE.fullmatch(result.measured_by):
                    message = f"{quoted(result.measured_by)} is not the form of a source"
                    yield Finding("R009", place.file, where, message, f"write {SOURCE_FORMS}")
                if own is not None and _arxiv_ids(result.measured_by) == {own}:
                    message = f"arXiv {own} is the paper of this record"
                    hint = "leave `measured_by` out: the number is the paper's own"
                    yield Finding("R023", place.file, where, message, hint)
                continue
            covering = (f"{path}.results.{result.benchmark}", f"{path}.results", path, "methods")
            items = [
                item for item in place.paper.evidence if any(each in item.for_ for each in covering)
            ]
            read = [_arxiv_ids(item.source) for item in items]
            named = _arxiv_ids(result.place)
            # Another paper is named as the place, or nothing but other papers was read.
            if not named and read and all(read):
                named = set().union(*read)
            if named and own not in named:
                message = f"the number is from arXiv {min(named)}, not from this paper"
                hint = f'add `measured_by: "arxiv:{min(named)}#Table 1"`, with the place there'
                yield Finding("R023", place.file, (*at, "place"), message, hint)


def _arxiv_ids(text: str) -> set[str]:
    return set(re.findall(r"(?<!\d)\d{4}\.\d{4,5}(?!\d)", text))


def _date(
    context: Context,
    file: str,
    location: Location,
    text: str,
    hint: str | None = None,
) -> Iterator[Finding]:
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        hint = hint or "write the day of the check as 2026-01-31"
        yield Finding("R012", file, location, f"the day {quoted(text)} does not exist", hint)
        return
    if day > context.today:
        hint = hint or "write the day on which it was checked"
        yield Finding("R012", file, location, f"the day {quoted(text)} lies in the future", hint)


# What RFC 3986 leaves out: it is written as %22 and the like.
_NO_ADDRESS = re.compile(r'[<>"{}|\\^`]')


def addresses(context: Context) -> Iterator[Finding]:
    """Addresses hold what addresses can hold, and no markup."""
    for file, paper in context.records.papers.items():
        found: list[tuple[Location, str | None]] = [
            (("code",), paper.code),
            (("page",), paper.page),
        ]
        for collection in COLLECTIONS.values():
            for number, entry in enumerate(getattr(paper, collection)):
                at: Location = (collection, number)
                found.append(((*at, "location"), getattr(entry, "location", None)))
                if isinstance(entry, Method) and entry.reproduction:
                    at = (*at, "reproduction", "blockers")
                    found += [
                        ((*at, n, "url"), blocker.url)
                        for n, blocker in enumerate(entry.reproduction.blockers)
                    ]
        for location, address in found:
            wrong = _NO_ADDRESS.search(address or "")
            if wrong:
                char = wrong.group()
                message = f"{quoted(address)} holds {char}, which addresses do not hold"
                hint = f"write %{ord(char):02X} for it, or correct the address"
                yield Finding("R025", file, location, message, hint)


MAX_CHOICES = 20
"""Names that a hint lists."""


def evidence_paths(context: Context) -> Iterator[Finding]:
    """What an evidence covers exists."""
    for file, paper in context.records.papers.items():
        known: set[str] = set()  # paths repeat within a record
        lists: dict[int, dict[str, int]] = {}
        for number, item in enumerate(paper.evidence):
            for each, path in enumerate(item.for_):
                if path in known:
                    continue
                wrong = _unresolved(paper, path, lists)
                if wrong is None:
                    known.add(path)
                    continue
                part, choices = wrong
                location = ("evidence", number, "for", each)
                message = f"{quoted(path)} is no field of this record: there is no {quoted(part)}"
                hint = context.nearest(f"{file} {' '.join(choices[:3])}", choices, part)
                if choices and not hint:
                    rest = ", ..." if len(choices) > MAX_CHOICES else ""
                    hint = f"here: {', '.join(choices[:MAX_CHOICES])}{rest}"
                yield Finding("R010", file, location, message, hint)


def _unresolved(
    paper: Paper, path: str, lists: dict[int, dict[str, int]]
) -> tuple[str, list[str]] | None:
    """The part of a path that does not exist and what does in its place; None if all exist.

    Items of a list are named by id, name, benchmark, symbol, framework or number. `lists` keeps
    these names for the lists of a record.
    """
    if path == "bibliography":
        return None
    value: Any = paper
    parts = path.split(".")
    for place, part in enumerate(parts):
        if isinstance(value, BaseModel):
            fields = type(value).model_fields
            if part == "facets" and isinstance(value, Method):
                return None if place == len(parts) - 1 else (parts[place + 1], [])
            name = "for_" if part == "for" else part
            if name not in fields:
                return part, [*fields, "bibliography"] if place == 0 else list(fields)
            value = getattr(value, name)
        elif isinstance(value, tuple):
            if id(value) not in lists:
                named = reversed(list(enumerate(value)))  # of two names the first counts
                lists[id(value)] = {_item_name(item): number for number, item in named}
            names = lists[id(value)]
            if ".".join(parts[place:]) in names:  # a name that holds dots, such as `lr.vision`
                return None
            if part in names:
                value = value[names[part]]
            elif re.fullmatch("[0-9]{1,6}", part) and int(part) < len(value):
                value = value[int(part)]
            else:
                return part, [*reversed(names)]
        else:
            return part, []
    return None


def _item_name(item: Any) -> str:
    for name in ("id", "name", "benchmark", "symbol", "framework"):
        value = getattr(item, name, None)
        if isinstance(value, str):
            return value
    return str(item) if isinstance(item, str) else ""


def evidence_coverage(context: Context) -> Iterator[Finding]:
    """Facts that matter have an evidence."""
    for file, paper in context.records.papers.items():
        covered = {path for item in paper.evidence for path in item.for_}
        if "bibliography" in covered:
            covered.update(BIBLIOGRAPHY)
        for name in ("title", "authors", "year", "venue"):
            if name not in covered:
                hint = f"add it, or `bibliography`, to the `for` of an evidence: `{name}`"
                yield Finding("R011", file, (name,), f"{name} has no evidence", hint)
        if "methods" not in covered:
            for number, method in enumerate(paper.methods):
                yield from _method_coverage(file, ("methods", number), method, covered)
        if "datasets" not in covered:
            for number, dataset in enumerate(paper.datasets):
                at, path = ("datasets", number), f"datasets.{dataset.id}"
                for name in ("size_paper", "size_released", "licence", "location"):
                    if getattr(dataset, name) is not None:
                        yield from _covered(file, (*at, name), path, name, covered)


def _method_coverage(
    file: str, location: Location, method: Method, covered: set[str]
) -> Iterator[Finding]:
    path = f"methods.{method.id}"
    if path in covered:
        return
    if f"{path}.facets" not in covered:
        missing = [
            name
            for name in METHOD_FACETS
            if getattr(method, name) and f"{path}.{name}" not in covered
        ]
        if missing:
            message = f"{path}: no evidence for {', '.join(missing)}"
            hint = f"add `{path}.facets` to the `for` of an evidence"
            yield Finding("R011", file, (*location, missing[0]), message, hint)
    yield from _covered(file, (*location, "objective"), path, "objective", covered)
    for name in ("hyperparameters", "results", "claims"):
        if getattr(method, name):
            yield from _covered(file, (*location, name), path, name, covered)


def _covered(
    file: str, location: Location, path: str, name: str, covered: set[str]
) -> Iterator[Finding]:
    if path not in covered and f"{path}.{name}" not in covered:
        message = f"{path}.{name} has no evidence"
        hint = f"add `{path}.{name}` to the `for` of an evidence"
        yield Finding("R011", file, location, message, hint)
