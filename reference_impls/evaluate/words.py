"""Objects that a text names, by a fixed vocabulary of words and phrases.

The official scorers make tokens singular with one of three libraries and look them up (CHAIR:
`pattern`; AMBER and later copies of CHAIR: NLTK's WordNet, behind its tagger). That breaks words
which only look like a plural ("glass"), and the second way needs models to be downloaded.
Here it is the vocabulary that is put into the plural: no text is guessed at, and the result depends
on nothing but the vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(r"[^\W\d_]+")

IRREGULAR: Mapping[str, tuple[str, ...]] = {
    "person": ("people", "persons"), "child": ("children",), "foot": ("feet",),
    "tooth": ("teeth",), "goose": ("geese",), "mouse": ("mice",), "ox": ("oxen",),
    "calf": ("calves",), "wolf": ("wolves",), "leaf": ("leaves",), "knife": ("knives",),
    "shelf": ("shelves",), "loaf": ("loaves",), "scarf": ("scarves", "scarfs"),
    "thief": ("thieves",), "wife": ("wives",), "life": ("lives",), "hoof": ("hooves", "hoofs"),
    "sheep": (), "fish": ("fishes",), "deer": (), "bison": (), "aircraft": (), "cattle": (),
    "people": (), "children": (), "oxen": (), "bus": ("buses", "busses"),
}  # fmt: skip
"""Plurals that the rules below do not give."""


def plurals(word: str) -> tuple[str, ...]:
    """Plural forms of an English noun in lower case; none where it has only one form."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("man") and word not in ("human", "german", "caiman", "talisman"):
        return (word[:-3] + "men",)
    if re.search(r"(s|x|z|ch|sh)$", word):
        return (word + "es",)
    if re.search(r"[^aeiou]y$", word):
        return (word[:-1] + "ies",)
    if word.endswith("o"):
        return (word + "s", word + "es")
    return (word + "s",)


def tokens(text: str) -> list[str]:
    """The words of a text in lower case; hyphens and apostrophes part words."""
    return _TOKEN.findall(text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """Phrases (tuples of words, plurals among them) and what each of them names; '' is nothing:
    such a phrase keeps a word inside it from being taken for an object."""

    names: Mapping[tuple[str, ...], str]
    longest: int

    @classmethod
    def of(cls, phrases: Iterable[tuple[str, str]]) -> Vocabulary:
        """A vocabulary of (phrase, what it names). Phrases as they are written win over plurals of
        others; of equal ones the first."""
        given = [(tuple(tokens(phrase)), name) for phrase, name in phrases]
        found: dict[tuple[str, ...], str] = {}
        for words, name in given:
            if words:
                found.setdefault(words, name)
        for words, name in given:
            for form in plurals(words[-1]) if words else ():
                found.setdefault((*words[:-1], form), name)
        return cls(found, max(map(len, found), default=0))

    def named(self, text: str) -> list[str]:
        """What a text names, in its order, as often as it does."""
        return [name for _, name in self.mentions(text)]

    def mentions(self, text: str) -> list[tuple[str, str]]:
        """(phrase of the text, what it names), in order; the longest phrase wins."""
        words = tokens(text)
        found, place = [], 0
        while place < len(words):
            for length in range(min(self.longest, len(words) - place), 0, -1):
                name = self.names.get(tuple(words[place : place + length]))
                if name is not None:
                    if name:
                        phrase = " ".join(words[place : place + length])
                        found.append((phrase, name))
                    place += length
                    break
            else:
                place += 1
        return found
