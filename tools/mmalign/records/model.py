"""The shape of a record: frozen pydantic models, one field per fact.

Shape only. What a single record cannot know (does this id exist, is this term in the taxonomy) is
checked in `mmalign.check`. `taxonomy/schema/*.json` is generated from these classes, and a test
keeps it fresh. There are no unions but ``| None``, because pydantic puts the branch of a union into
the location of an error, and an error must point at a line of the YAML file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mmalign.vocabulary import Kind, Severity

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Text = Annotated[str, StringConstraints(min_length=1)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
# [0-9], since \d is any digit of Unicode.
Date = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Since = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?$")]
ArxivId = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}\.[0-9]{4,5}$")]
Year = Annotated[int, Field(ge=1980, le=2100)]


class Model(BaseModel):
    """Base of all record classes: immutable, strict about types, no unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, populate_by_name=True, protected_namespaces=()
    )


class Evidence(Model):
    """Where facts of this record were read, and how far they can be trusted."""

    for_: tuple[Text, ...] = Field(
        alias="for",
        min_length=1,
        description="Field paths that this covers, as `title`, `methods.mdpo.objective` or "
        "`methods.mdpo.results`; a path covers everything below it.",
    )
    source: Text = Field(
        description="`arxiv:ID#section`, `repo:owner/name@commit:path#Lnn` or a URL."
    )
    status: Literal["verified", "reported", "inferred"] = Field(
        description="verified: read at the primary source. reported: read at a secondary source. "
        "inferred: follows from something read; the note says how."
    )
    checked: Date = Field(description="Day of the last check, ISO 8601.")
    note: Text | None = None


class SurveyPlace(Model):
    """Where the survey (arXiv 2503.14504) treats this paper."""

    reference: int | None = Field(default=None, ge=1, description="Number in its bibliography.")
    sections: tuple[Text, ...] = ()
    tables: tuple[int, ...] = ()
    figures: tuple[int, ...] = ()


class Symbol(Model):
    """One symbol of an equation, explained."""

    symbol: Text = Field(description="LaTeX, without dollar signs.")
    meaning: Text


class Variant(Model):
    """A place where survey, paper and official code do not compute the same."""

    of: Literal["survey", "paper", "code"]
    place: Text = Field(
        description="Section, table or equation, or `repo:owner/name@commit:path#Lnn`."
    )
    differs: Text = Field(description="What it computes instead.")
    consequence: Text = Field(description="What that changes in a run.")
    latex: Text | None = None


class Objective(Model):
    """The training objective, as the PAPER defines it, as far as that could be read.

    What the evidence of `objective` (or of `objective.latex`, which goes first) says is told beside
    the equation: verified in the paper, reported by others, or put together.
    """

    family: Id = Field(description="Term of the facet `objective_family`.")
    parent: Id | None = Field(default=None, description="Method whose objective this one extends.")
    latex: Text = Field(description="The paper's equation, in LaTeX, without dollar signs.")
    place: Text = Field(description="Where the paper has it, such as `equation 7`.")
    symbols: tuple[Symbol, ...] = ()
    difference: Text | None = Field(
        default=None, description="What it adds to or changes in the parent, in one sentence."
    )
    variants: tuple[Variant, ...] = ()


class Hyperparameter(Model):
    """One value that the paper (or its official code) trains with."""

    name: Text
    value: Text = Field(description="As printed.")
    number: float | None = Field(default=None, description="The same as a number, if it is one.")
    source: Text = Field(description="Place in the paper, or file in the repository.")
    note: Text | None = None


class Result(Model):
    """One number: reported by the paper, or by another source that `measured_by` names."""

    benchmark: Id
    metric: Text
    model: Text = Field(description="Trained model as the paper names it, with its size.")
    value: float
    unit: Text | None = Field(default=None, description="`%`, `score 0-6`, ...")
    baseline: Text | None = Field(default=None, description="What it is compared with.")
    baseline_value: float | None = None
    place: Text = Field(description="Table or figure of the paper, or of `measured_by`.")
    measured_by: Text | None = Field(
        default=None,
        description="Where the number stands if not in this paper: a source as of an evidence.",
    )
    note: Text | None = None


class Claim(Model):
    """What the paper says the method does, phrased so that a run can test it."""

    id: Id
    text: Text
    metric: Text = Field(description="What to measure, such as `chair_i`.")
    direction: Literal["lower", "higher", "equal"]
    against: Text = Field(description="Baseline: a method id, or `base`.")
    place: Text
    testable_in_lab: bool = Field(
        default=True, description="False where the lab has nothing to measure it with."
    )


class Issue(Model):
    """A known obstacle to reproducing a paper."""

    text: Text
    url: Url | None = None


class Reproduction(Model):
    """What one needs to get the paper's numbers."""

    iterations: Text | None = None
    decoding: Text | None = None
    checkpoint: Text | None = Field(
        default=None, description="Which released weights; merged or adapter."
    )
    data: Text | None = Field(default=None, description="Is the training data public, and where.")
    hardware: Text | None = None
    weights_public: bool | None = None
    data_public: bool | None = None
    code_public: bool | None = None
    blockers: tuple[Issue, ...] = ()


class RunsIn(Model):
    """A training framework that offers this method today."""

    framework: Text
    version: Text
    how: Text = Field(description="The setting that turns it on.")
    faithful: bool = Field(description="Does it compute the paper's objective?")
    evidence: Text
    note: Text | None = None


class Entry(Model):
    """What every contribution of a paper has."""

    id: Id
    name: Text
    aliases: tuple[Text, ...] = ()
    summary: Text = Field(description="What it is, in our own words: two or three sentences.")
    survey: SurveyPlace | None = Field(
        default=None, description="Only where it differs from the place of the whole paper."
    )
    related: tuple[Id, ...] = Field(default=(), description="Other entries worth reading.")


class Method(Entry):
    """An alignment method."""

    scenario: tuple[Id, ...] = Field(min_length=1)
    modality: tuple[Id, ...] = Field(min_length=1)
    data_source: tuple[Id, ...] = Field(min_length=1)
    response_source: tuple[Id, ...] = Field(min_length=1)
    annotation: tuple[Id, ...] = Field(min_length=1)
    pair_difference: Id | None = Field(
        default=None, description="What differs between chosen and rejected; none without pairs."
    )
    objective: Objective
    own: tuple[Literal["objective", "data recipe", "schedule", "setting only", "baseline"], ...] = (
        Field(min_length=1, description="What of it is its own.")
    )
    hyperparameters: tuple[Hyperparameter, ...] = ()
    base_models: tuple[Id, ...] = Field(default=(), description="Ids of models.")
    trains_on: tuple[Id, ...] = Field(default=(), description="Ids of datasets.")
    benchmarks: tuple[Id, ...] = Field(default=(), description="Ids of benchmarks it reports on.")
    compares_with: tuple[Id, ...] = Field(default=(), description="Ids of methods.")
    addresses: tuple[Id, ...] = Field(
        default=(), description="Terms of the facet `future_direction` that it takes up."
    )
    results: tuple[Result, ...] = ()
    claims: tuple[Claim, ...] = ()
    reproduction: Reproduction | None = None
    runs_in: tuple[RunsIn, ...] = ()
    notes: tuple[Text, ...] = Field(
        default=(), description="Anything else that a user must know; one fact each."
    )
    reference_impl: Text | None = Field(
        default=None, description="Name of the script in `reference_impls/methods/`."
    )


class Size(Model):
    """How large a dataset or benchmark is."""

    text: Text = Field(description="With the unit: `5,733 pairs`.")
    number: int | None = None
    source: Text | None = None


class Dataset(Entry):
    """A dataset to align models with."""

    scenario: tuple[Id, ...] = ()
    modality: tuple[Id, ...] = Field(min_length=1)
    size_paper: Size | None = None
    size_released: Size | None = None
    data_source: tuple[Id, ...] = ()
    sources: tuple[Text, ...] = Field(
        default=(), description="Where images and prompts come from, by name."
    )
    response_source: tuple[Id, ...] = ()
    response_models: tuple[Text, ...] = ()
    annotation: tuple[Id, ...] = ()
    annotators: tuple[Text, ...] = Field(default=(), description="Who annotated, by name.")
    pair_difference: Id | None = None
    licence: Text | None = None
    location: Url | None = Field(default=None, description="Where it can be downloaded.")
    notes: tuple[Text, ...] = ()


class Metric(Model):
    """A metric of a benchmark."""

    name: Text
    direction: Literal["higher", "lower", "none"] = Field(
        description="Which way is better; none where neither is, such as a yes-ratio."
    )
    meaning: Text | None = None


class Benchmark(Entry):
    """A benchmark to evaluate models with."""

    dimension: tuple[Id, ...] = Field(min_length=1)
    modality: tuple[Id, ...] = Field(min_length=1)
    size: Size | None = None
    metrics: tuple[Metric, ...] = Field(min_length=1)
    judge: Text | None = Field(default=None, description="None where answers are matched by rule.")
    licence: Text | None = None
    location: Url | None = None
    notes: tuple[Text, ...] = ()


class ModelEntry(Entry):
    """A multimodal model that methods start from or produce."""

    modality: tuple[Id, ...] = Field(min_length=1)
    sizes: tuple[Text, ...] = ()
    licence: Text | None = None
    location: Url | None = None


class Framework(Entry):
    """A training framework."""

    licence: Text | None = None
    location: Url | None = None


class Paper(Model):
    """One record: a paper (or a repository) with everything that it contributes."""

    id: Id = Field(description="Equals the file name; never renamed.")
    type: Literal["paper", "repository"] = "paper"
    title: Text
    authors: tuple[Text, ...] = Field(
        min_length=1,
        description="Given name first, all of them, in the paper's order. For a repository, its "
        "owner as named there.",
    )
    year: Year = Field(description="Of the publication that `venue` names.")
    venue: Text = Field(
        description="As finally published, short: `CVPR 2024`; else `arXiv` or `GitHub`; "
        "`ICLR 2025 submission (rejected)` where it was."
    )
    arxiv: ArxivId | None = Field(default=None, description="Quoted, without version.")
    openreview: Text | None = Field(default=None, description="Forum id.")
    doi: Text | None = None
    code: Url | None = Field(default=None, description="Official repository.")
    page: Url | None = None
    licence: Text | None = Field(
        default=None, description="Of the code: SPDX id, or `none` where no licence is given."
    )
    beyond_survey: bool = Field(default=False, description="The survey does not cite it.")
    survey: SurveyPlace | None = None
    summary: Text = Field(description="In our own words: two or three sentences.")
    methods: tuple[Method, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    benchmarks: tuple[Benchmark, ...] = ()
    models: tuple[ModelEntry, ...] = ()
    frameworks: tuple[Framework, ...] = ()
    related: tuple[Id, ...] = Field(default=(), description="Ids of papers worth reading next.")
    evidence: tuple[Evidence, ...] = Field(min_length=1)


# --- taxonomy ------------------------------------------------------------------------------------


class Term(Model):
    """One term of a facet."""

    id: Id
    label: Text
    parent: Id | None = None
    definition: Text
    form: Text | None = Field(
        default=None, description="Of a family of objectives: its loss in the atlas's notation."
    )
    survey: Text | None = Field(default=None, description="Section of the survey; none if ours.")
    aliases: tuple[Text, ...] = ()
    questions: tuple[Text, ...] = Field(
        default=(), description="Open questions that the survey names (future directions)."
    )


class Facet(Model):
    """One axis of the taxonomy: the file `taxonomy/<id>.yaml`."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z]+(_[a-z]+)*$")]
    label: Text
    definition: Text
    survey: Text | None = None
    applies_to: tuple[Literal["method", "dataset", "benchmark", "model"], ...] = Field(
        min_length=1, description="Kinds of entry that carry this facet."
    )
    field: Text = Field(description="Field of those entries that holds the terms.")
    terms: tuple[Term, ...] = Field(min_length=1)


class Relation(Model):
    """A type of edge."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z]+(_[a-z]+)*$")]
    label: Text
    inverse_label: Text
    definition: Text
    domain: tuple[Kind, ...]
    range: tuple[Kind, ...]
    acyclic: bool = False


class Relations(Model):
    """`taxonomy/relations.yaml`."""

    relations: tuple[Relation, ...] = Field(min_length=1)


class Erratum(Model):
    """An error of the survey or of its awesome list, with proof."""

    id: Id
    where: Text = Field(description="`survey section 3.1.1`, `survey Table 2, row RLHF-V`, ...")
    source: Literal["survey", "awesome-list", "paper", "code"]
    says: Text
    correct: Text
    proof: Text = Field(description="Source in the form of an evidence source, or a URL.")
    quote: Text | None = Field(default=None, description="The words that prove it, if short.")
    severity: Severity = Field(
        description="wrong: whoever relies on it concludes something false. misleading: mostly "
        "read wrongly. missing: left out. typo: a slip that the context corrects. "
        "outdated-since: right when it was printed."
    )
    since: Since | None = Field(
        default=None,
        description="Of what is outdated: the year, month or day since which it is, if known.",
    )
    about: tuple[Text, ...] = Field(default=(), description="Full names, such as `method:fdpo`.")
    checked: Date


class Errata(Model):
    """`taxonomy/errata.yaml`."""

    errata: tuple[Erratum, ...] = ()
