"""The study behind a method's results page: rows x rates x seeds, tuned on the validation split.

`python -m reference_impls.study mdpo` trains base, SFT, DPO (GRPO), the method and each of its
ablations on the method's own data, at every rate of one grid, and writes
`reference_impls/results/mdpo.json`. A run that is done is not done again, so a study can be
stopped at any time and started anew with the same command.

Each row's rate is the one with the lowest CHAIR on the validation split, out of the rates that
keep at least nine tenths of the base's recall; reinforcement has one rate, its script's. The
table is of the test split. No order is required of the rows; the verdicts say what came out."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib
import json
import multiprocessing
import os
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
PAIR_RATES = (1e-4, 3e-4)
SEEDS = (1, 2, 3)
CURVES = ("chosen_reward", "rejected_reward", "reward", "kl")
"""Metrics of the training log that a result keeps: of pairs the first two, of groups the others."""
EQUAL = 0.05
"""How far apart two rows may be and still count as equal."""


def one(method: str, row: str, rate: float, seed: int, work: str) -> dict:
    """Train one row at one rate and seed; its metrics on both splits. Runs in a process of its
    own."""
    import torch

    torch.set_num_threads(1)
    from reference_impls.core import experiment
    from reference_impls.core.command_line import quiet_libraries
    from reference_impls.core.policy import Policy
    from reference_impls.core.worlds import scenes

    quiet_libraries()
    script = importlib.import_module(f"reference_impls.methods.{method}")
    cfg = dataclasses.replace(script.Config(), **script.ABLATIONS.get(row, {}))
    settings = dataclasses.replace(script.LAB, learning_rate=rate, seed=seed)
    run = experiment.Experiment(
        script, cfg, settings, scenes, Path(work) / f"{row}-{rate:g}-{seed}".replace(" ", "-")
    )
    rows, trained = run.rows(), script
    baselines = {baseline.RECORD: baseline for baseline in run.all_baselines()}
    if row == "base":
        model = run.base.model
    else:
        if row in baselines and row != script.RECORD:
            trained = baselines[row]
            cfg, rows = trained.cfg, run.baseline_rows(trained, rows)
            if not experiment.is_group(trained):
                settings = dataclasses.replace(settings, batch_size=trained.LAB.batch_size)
        model = run.train(trained, cfg, rows, settings, run.output)
    metrics = run.measure(model, run.held_out(rows)[0])
    return {"validation": tuning_metrics(Policy(model, run.processor)), "test": metrics}


def tuning_metrics(policy) -> dict[str, float]:
    """What a rate is chosen by: CHAIR and recall of captions of the validation split."""
    from reference_impls.core.evaluation import HELD_OUT_SCENES
    from reference_impls.core.worlds import DrawnWorld, scenes

    world = DrawnWorld(scenes, "validation", HELD_OUT_SCENES, 0)
    captions = policy.answer([scenes.CAPTION_PROMPT] * len(world.scenes), world.images)
    return scenes.chair(world.scenes, captions)


def jobs(script, rates: dict[str, tuple[float, ...]]) -> list[tuple[str, float, int]]:
    """(row, rate, seed) of everything that the study needs; the base needs no rate and no seed."""
    found = [("base", 0.0, SEEDS[0])]
    return found + [(row, r, seed) for seed in SEEDS for row, rs in rates.items() for r in rs]


def best_rate(done: dict, row: str, rates: tuple[float, ...]) -> float:
    """The rate that the validation split prefers, over all seeds."""
    recall = done["base", 0.0, SEEDS[0]]["validation"]["recall"]

    def mean(rate: float, metric: str) -> float:
        return statistics.mean(done[row, rate, seed]["validation"][metric] for seed in SEEDS)

    kept = [rate for rate in rates if mean(rate, "recall") >= 0.9 * recall] or list(rates)
    return min(kept, key=lambda rate: mean(rate, "chair_i"))


def table(name: str, title: str, note: str, rows: list[tuple[str, float]], done: dict) -> dict:
    """Test metrics of (row, rate) over the seeds, in the form that the site reads."""
    lines = []
    for row, rate in rows:
        seeds = [SEEDS[0]] if row == "base" else SEEDS
        runs = [done[row, rate, seed]["test"] for seed in seeds]
        metrics = {metric: [run[metric] for run in runs] for metric in runs[0]}
        settings = {} if row == "base" else {"learning_rate": rate}
        lines.append({"name": row, "settings": settings, "metrics": metrics})
    columns = list(lines[0]["metrics"])
    return {"id": name, "title": title, "note": note, "columns": columns, "rows": lines}


def curves(work: Path, rates: dict[str, float]) -> list[dict]:
    """What the runs of the main table logged at each step, as the mean over the seeds.

    One item per metric: `{"metric", "lines": [{"row", "rate", "values"}]}`, from step 1 on. A
    run that was stopped and gone on with has logged some steps twice; the later line counts.
    """
    found: dict[str, list[dict]] = {metric: [] for metric in CURVES}
    for row, rate in rates.items():
        runs = []
        for seed in SEEDS:
            log = work / f"{row}-{rate:g}-{seed}".replace(" ", "-") / "metrics.jsonl"
            if log.exists():
                lines = map(json.loads, log.read_text(encoding="utf-8").splitlines())
                runs.append({line["step"]: line for line in lines})
        if len(runs) < len(SEEDS):
            continue
        steps = range(1, min(map(len, runs)) + 1)
        for metric in CURVES:
            if all(metric in run.get(step, ()) for run in runs for step in steps):
                means = [statistics.mean(run[step][metric] for run in runs) for step in steps]
                values = [round(mean, 3) + 0.0 for mean in means]  # no minus before a zero
                found[metric].append({"row": row, "rate": rate, "values": values})
    return [{"metric": metric, "lines": lines} for metric, lines in found.items() if lines]


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half width of the 95 % t interval."""
    student = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
    if len(values) < 2:
        return values[0], 0.0
    spread = statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values), student[len(values)] * spread


def verdict(claim: dict, first: list[float], second: list[float]) -> dict:
    """Compare a row with another, seed by seed, in the direction of the claim.

    shown: the paired difference lies on the claimed side with its whole 95 % interval;
    contradicted: with its whole interval on the other side; else not shown. "equal" is shown where
    the whole interval lies within EQUAL of 0, and contradicted where it lies outside.
    """
    mean, half = interval([a - b for a, b in zip(first, second, strict=True)])
    if claim["direction"] == "equal":
        shown, contradicted = abs(mean) + half <= EQUAL, abs(mean) - half > EQUAL
    else:
        sign = 1 if claim["direction"] == "higher" else -1
        shown, contradicted = sign * mean > half, -sign * mean > half
    numbers = {
        "row": statistics.mean(first),
        "against": statistics.mean(second),
        "difference": mean,
        "half_width_95": half,
    }
    return {
        "claim": claim["id"],
        "text": claim["text"],
        "verdict": "shown" if shown else "contradicted" if contradicted else "not shown",
        "numbers": {name: round(value, 4) for name, value in numbers.items()},
    }


def claims(script) -> list[tuple]:
    """What a study decides: the record's claims that the lab can test, then the script's own
    EXPECTATIONS. Each is (id, text, metric, direction, row, against, rate), with rate "best" (each
    row its own) or "shared" (the highest of the grid for both)."""
    import mmalign

    record = mmalign.load().methods[script.RECORD]
    from_record = [
        (c.id, c.text, c.metric, c.direction, script.RECORD, c.against, "best")
        for c in record.claims
        if c.testable_in_lab
    ]
    return from_record + list(script.EXPECTATIONS)


def verdicts(script, done: dict, best: dict[str, float], top: dict[str, float]) -> list[dict]:
    """Every claim decided by the runs."""
    found, first = [], SEEDS[0]
    for name, text, metric, direction, row, against, rate in claims(script):
        rates = {"base": 0.0} | (best if rate == "best" else top)
        sides = [
            [
                done[side, rates[side], first if side == "base" else seed]["test"][metric]
                for seed in SEEDS
            ]
            for side in (row, against)
        ]
        claim = {"id": name, "text": text, "direction": direction}
        found.append(verdict(claim, *sides))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("method", help="name of the script, such as mdpo")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=Path, default=Path("runs/study"))
    options = parser.parse_args()
    script = importlib.import_module(f"reference_impls.methods.{options.method}")
    from reference_impls.core.experiment import is_group, versions, write_json

    group = is_group(script)
    names = ["sft", "grpo" if group else "dpo", script.RECORD, *script.ABLATIONS]
    names = list(dict.fromkeys(names))
    rates = dict.fromkeys(names, (script.LAB.learning_rate,) if group else PAIR_RATES)
    if group:
        rates["sft"] = PAIR_RATES[-1:]
    work = options.work / options.method
    wanted, done = jobs(script, rates), {}
    paths = {job: work / f"{job[0]}-{job[1]:g}-{job[2]}.json".replace(" ", "-") for job in wanted}
    done = {job: json.loads(p.read_text()) for job, p in paths.items() if p.exists()}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        waiting = {
            pool.submit(one, options.method, *job, str(work)): job
            for job in wanted
            if job not in done
        }
        for finished in as_completed(waiting):
            job = waiting[finished]
            done[job] = finished.result()
            write_json(paths[job], done[job])
            print(f"{len(done)}/{len(wanted)}: {job}", file=sys.stderr, flush=True)
    best = {row: best_rate(done, row, rates[row]) for row in names}
    top = {row: max(rates[row]) for row in names}
    tables = [
        table(
            "main",
            "All rows at one rate" if group else "Each row at its own best rate",
            "Test split; the rate was not tuned per row."
            if group
            else "Test split; rates chosen on the validation split.",
            [("base", 0.0), *best.items()],
            done,
        )
    ]
    if not group:
        tables.append(
            table(
                "shared-rate",
                "All rows at the highest rate of the grid",
                "What happens where the rate is too high for DPO.",
                [("base", 0.0), *top.items()],
                done,
            )
        )
        every = [(row, rate) for row in names for rate in rates[row]]
        tables.append(table("grid", "The whole grid", "Test split.", [("base", 0.0), *every], done))
    result = {
        "method": script.RECORD,
        "world": "scenes",
        "world_version": 1,
        "date": datetime.date.today().isoformat(),
        "command": f"python -m reference_impls.study {options.method}",
        "versions": versions(),
        "machine": f"{os.cpu_count()} CPU cores",
        "seeds": list(SEEDS),
        "settings": dataclasses.asdict(script.LAB),
        "tables": tables,
        "verdicts": verdicts(script, done, best, top),
        "curves": curves(work, best),
    }
    write_json(RESULTS / f"{options.method}.json", result)
    print(RESULTS / f"{options.method}.json")


if __name__ == "__main__":
    main()
