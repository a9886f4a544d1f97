"""Everything that the survey places has a record: Figure 2, Tables 1 and 2, sections 3 to 6."""

from __future__ import annotations

import re

import pytest

from mmalign.records.kb import KnowledgeBase
from mmalign.records.read import load

METHODS = """
fact-rlhf ddpo fdpo ha-dpo mdpo rlaif-v xgen-mm chip hdpo dama opa-dpo re-align
mm-dpo silkie clip-dpo sima llava-critic mpo image-dpo pds-dpo qwen2-5-vl omnialign-v
lmm-r1 open-r1-video vlm-r1 easyr1 r1-v mm-eureka visualthinker-r1-zero
vision-r1 r1-omni mmr1-math-v0 mia-dpo symdpo llava-next-interleave ppllava video-salmonn-2 squba
3d-ct-gpt-plus-plus mavis
interactivecot emmoe adpo vlguard po rl4vlm phantom lrv-instruction llama-3-1
povid align-anything simpo
""".split()  # noqa: SIM905
"""The 52 methods of the survey's figure and text, by the ids that scripts and pages use."""

_OF_THE_SURVEY = re.compile(r"survey (section|Table|Figure|references?|abstract)")

BASELINES = ("sft", "dpo", "grpo", "rloo", "ppo", "reward-model", "best-of-n")

# Row of Table 2 -> id of the data set.
DATASETS = {
    "LLaVA-RLHF": "llava-rlhf", "RLHF-V": "rlhf-v", "VLFeedback": "vlfeedback",
    "CLIP-DPO": "clip-dpo", "M-HalDetect": "m-haldetect", "HA-DPO": "ha-dpo", "SIMA": "sima",
    "RLAIF-V": "rlaif-v", "MIA-DPO": "mia-dpo", "MAVIS": "mavis", "EMMOE-100": "emmoe-100",
    "Image-DPO": "image-dpo", "LLaVA-Critic": "llava-critic", "MMPR": "mmpr",
    "MM-RLHF": "mm-rlhf", "Open-R1-Video-4k": "open-r1-video-4k",
    "MM-Eureka-Dataset": "mm-eureka", "MMR1-Math-RL-Data-v0": "mmr1-math-rl-data-v0",
}  # fmt: skip

BENCHMARKS = """
mme-realworld mmstar mmbench mmt-bench blink mathvista sqa3d mmmu mvbench mantis-eval
object-halbench videohallucer valor-eval pope haelm openchair gavie amber mementos mmhal-bench
vlind-bench m-haldetect hallusionbench vhtest refomb mhalubench phd activitynet-qa r-bench
mhumaneval bingo hqh
advdiffvlm rtvlm vlguard multitrust vllm-safety-bench mossbench mm-rlhf-safetybench
q-bench llvisionqa lldescribe llava-wilder livebench vibe-eval
m-rewardbench vl-rewardbench rewardbench mj-bench mllm-as-a-judge mm-rlhf-rewardbench
arena-hard alpacaeval-v2 alignbench mm-alignbench
""".split()  # noqa: SIM905
"""The 55 of Figure 2. For Mantis-Instruct, which is training data, stands its paper's benchmark."""


@pytest.fixture(scope="module")
def real(checkout) -> KnowledgeBase:
    return load(checkout)


def test_every_method_has_a_record(real):
    assert len(METHODS) == 52
    assert [id_ for id_ in (*METHODS, *BASELINES) if id_ not in real.methods] == []


def test_every_dataset_of_table_2_has_a_record(real):
    assert [row for row, id_ in DATASETS.items() if id_ not in real.datasets] == []


def test_the_one_row_of_table_2_without_a_data_set_has_an_erratum(real):
    # xGen-MM trains on VLFeedback: the row describes no data set of its own.
    assert "vlfeedback" in real.methods["xgen-mm"].trains_on
    assert any("row xGen-MM" in item.where for item in real.errata)


def test_every_benchmark_has_a_record(real):
    assert len(BENCHMARKS) == 55
    assert [id_ for id_ in BENCHMARKS if id_ not in real.benchmarks] == []


def test_every_term_of_a_scenario_and_future_direction_is_taken_up(real):
    taken = {term for method in real.methods.values() for term in method.addresses}
    below = {t.parent for t in real.facets["future_direction"].terms}
    leaves = {t.id for t in real.facets["future_direction"].terms if t.id not in below}
    open_ground = leaves - taken
    # A direction that no method takes up is a finding of its own: at most a few may be open.
    assert len(open_ground) <= 4, open_ground


def test_papers_beyond_the_survey_are_marked(real):
    for paper in real.papers.values():
        if paper.arxiv == "2503.14504":  # the survey itself
            continue
        place = paper.survey
        cited = place is not None and (place.reference or place.sections or place.figures)
        assert paper.beyond_survey != bool(cited), paper.id


def test_no_two_papers_have_one_reference_number(real):
    seen: dict[int, str] = {}
    for paper in real.papers.values():
        number = paper.survey.reference if paper.survey else None
        if number is not None:
            assert number not in seen, f"{paper.id} and {seen[number]} are both [{number}]"
            assert 1 <= number <= 155
            seen[number] = paper.id


def test_errata_say_where_and_prove_it(real):
    assert len(real.errata) >= 200
    for item in real.errata:
        if item.source == "survey":
            assert re.match(r"survey (section|Table|Figure|references?|abstract)", item.where), (
                item.id
            )
        if item.source == "awesome-list":
            assert re.search(r"README\.md (line|section|heading)", item.where), item.id


SURVEY_PRINTED = "2025-03-23"
"""Day of the survey's second version, which the errata are about."""


def test_what_is_outdated_was_right_when_the_survey_was_printed(real):
    outdated = [item for item in real.errata if item.severity == "outdated-since"]
    assert len([item for item in outdated if item.source == "survey"]) >= 18
    for item in outdated:
        if item.source == "survey" and item.since is not None:
            assert item.since >= SURVEY_PRINTED[: len(item.since)], item.id


def test_what_came_after_the_survey_is_not_called_its_error(real):
    later = re.compile(r"right when (written|printed)|outdated since|after the survey(?!'s)", re.I)
    for item in real.errata:
        if item.source == "survey" and item.severity != "outdated-since":
            assert not later.search(f"{item.says} {item.correct}"), item.id


def test_a_submission_that_was_rejected_later_was_cited_rightly(real):
    # A citation as a submission to OpenReview says nothing about a decision.
    for item in real.errata:
        cited = item.source == "survey" and item.says.rstrip(".").endswith("openreview, 2024")
        if cited and re.search(r"reject|withdrawn|not accepted", item.correct):
            assert item.severity == "outdated-since", item.id


def test_what_is_left_out_is_called_missing(real):
    for item in real.errata:
        if re.search(r"-lacks-|-missing$|^list-.*-(code|page)$", item.id):
            says_nothing = item.says.startswith(("No ", "The section")) or "missing" in item.id
            assert not says_nothing or item.severity == "missing", item.id


def test_no_address_of_the_catalogue_leads_to_a_preview(checkout):
    from mmalign.check.evidence import is_preview

    address = re.compile(r"https?://[^\s\"'<>)\]]+")
    for folder in ("papers", "taxonomy"):
        for path in sorted((checkout / folder).glob("*.yaml")):
            for found in address.findall(path.read_text(encoding="utf-8")):
                assert not is_preview(found), f"{path.name}: {found}"


def test_a_number_of_another_paper_says_where_it_stands(real):
    others = 0
    for paper in real.papers.values():
        for method in paper.methods:
            for result in method.results:
                named = set(re.findall(r"\d{4}\.\d{4,5}", result.place)) - {paper.arxiv}
                assert not named or result.measured_by, (method.id, result.place)
                others += result.measured_by is not None
    assert others >= 9
    assert all(each.measured_by for each in real.methods["clip-dpo"].results)
    assert all(each.measured_by for each in real.methods["video-salmonn-2"].results)


def test_the_whole_bibliography_is_read_back_by_two_readers(real):
    from pybtex.database import parse_string

    from mmalign.ask.views import paper_summary
    from mmalign.curate.known import differences
    from mmalign.curate.reference import read_bibtex
    from mmalign.export.bibtex import to_bibtex

    papers = {id_: paper_summary(paper) for id_, paper in real.papers.items()}
    text = to_bibtex(papers.values())
    references = {reference.key: reference for reference in read_bibtex(text).references}
    assert set(references) == set(papers)
    others = parse_string(text, "bibtex").entries
    assert set(others) == set(papers)
    for id_, paper in papers.items():
        reference, other = references[id_], others[id_]
        assert differences(reference, paper) == []
        assert reference.authors == tuple(paper["authors"]), id_
        assert reference.title == " ".join(paper["title"].split()), id_
        assert (reference.arxiv, reference.year) == (paper["arxiv"], paper["year"]), id_
        assert len(other.persons["author"]) == len(paper["authors"]), id_
        assert other.fields["year"] == str(paper["year"])
