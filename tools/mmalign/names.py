"""What a name means: full names, ids, aliases; terms and all below them; the names most like one.

Over plain data, so that the records in memory and the compiled catalogue ask the same question in
the same way. Only the standard library is imported.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmalign.errors import UnknownId
from mmalign.vocabulary import KINDS, kind_of


def nearest(name: str, pool: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """Up to `limit` names of `pool` that look most like `name`, the most alike first."""
    import difflib

    known, name = sorted(set(pool)), name.lower()
    found = difflib.get_close_matches(name, known, limit, 0.6)
    if found:
        # Where one name is very close, names that are only somewhat close would distract.
        ratios = [difflib.SequenceMatcher(None, name, other).ratio() for other in found]
        found = [other for other, r in zip(found, ratios, strict=True) if r > ratios[0] - 0.2]
    found += [other for other in known if len(name) > 2 and other.startswith(name)][:limit]
    return tuple(dict.fromkeys(found))[:limit]


def index(things: Iterable[tuple[str, Iterable[str]]]) -> dict[str, list[str]]:
    """Name in lower case -> full names of what is called so.

    `things` are pairs (full name, everything that it is called) in the order of preference.
    """
    found: dict[str, list[str]] = {}
    for ref, names in things:
        for name in {name.lower() for name in names}:
            found.setdefault(name, []).append(ref)
    return dict(sorted(found.items()))


def find(
    names: Mapping[str, Sequence[str]],
    refs: Container[str],
    name: str,
    kinds: Sequence[str] = KINDS,
) -> list[str]:
    """Full names of what `name` may mean, the preferred one first.

    `name` is a full name (`method:mdpo`, `term:scenario/safety`, `term:safety`), a bare id, an
    alias or a display name; case does not matter. `names` is an `index`, `refs` holds all full
    names, `kinds` are those that are looked for.
    Raises UnknownId when nothing of these kinds is called so.
    """
    wanted = name.strip().lower()
    kind, colon, rest = wanted.partition(":")
    # A title may hold a colon, too: what stands before it is not a kind then.
    full = bool(colon) and kind in KINDS
    if full and kind in kinds and wanted in refs:
        return [wanted]

    def of_kinds(called: str, allowed: Sequence[str]) -> list[str]:
        return [ref for ref in names.get(called, ()) if kind_of(ref) in allowed]

    found = of_kinds(rest, (kind,) if kind in kinds else ()) if full else []
    # The display name of something may itself begin with the word of a kind and a colon.
    found = found or of_kinds(wanted, kinds)
    if not found:
        if full:
            pool = [r for all_ in names.values() for r in all_ if kind_of(r) == kind]
        else:
            pool = [n for n, all_ in names.items() if any(kind_of(r) in kinds for r in all_)]
        noun = kinds[0] if len(kinds) == 1 else "entry"
        raise UnknownId(f"no {noun} is called '{name}'", nearest(wanted, pool))
    # An id beats an alias: a bare id means what the contract says it means.
    bare = (wanted, rest) if full else (wanted,)
    return sorted(found, key=lambda ref: ref.replace("/", ":").rpartition(":")[2] not in bare)


@dataclass(frozen=True)
class TermNames:
    """What is asked of a term: its id, what it is called, and the term above it."""

    id: str
    label: str
    parent: str | None = None
    aliases: tuple[str, ...] = ()


def closure(facet: str, terms: Iterable[TermNames], name: str) -> frozenset[str]:
    """The term of a facet that an id, alias or label means, and every term below it.

    Raises UnknownId for an unknown term.
    """
    known = list(terms)
    wanted = _fold(name)
    first = next((term.id for term in known if term.id == wanted), None) or next(
        (term.id for term in known if wanted in map(_fold, (term.label, *term.aliases))), None
    )
    if first is None:
        near = nearest(wanted, [term.id for term in known])
        all_ = "" if near else f"; known: {', '.join(term.id for term in known)}"
        raise UnknownId(f"'{name}' is not a term of the facet {facet}{all_}", near)
    children: dict[str | None, list[str]] = {}
    for term in known:
        children.setdefault(term.parent, []).append(term.id)
    found, open_ = {first}, [first]
    while open_:
        below = [child for child in children.get(open_.pop(), ()) if child not in found]
        found.update(below)
        open_ += below
    return frozenset(found)


def _fold(text: str) -> str:
    return "-".join(text.lower().replace("_", " ").replace("-", " ").split())
