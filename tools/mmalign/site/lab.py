"""Results of the lab: tables with intervals over seeds, and verdicts on claims.

A result is the parsed JSON of `reference_impls/results/<method>.json`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from mmalign.site import curves
from mmalign.site.atlas import Atlas, Page, badge
from mmalign.site.parts import join
from mmalign.site.text import block_of_code, code, escape, number, table
from mmalign.vocabulary import Json

# Quantile 0.975 of Student's t by degrees of freedom (any table of statistics).
T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and half width of its 95 % t-interval; None for a single value, which has no interval.

    Beyond 30 degrees of freedom the quantile is 1.96 + 2.4 / df, right to 0.002.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None
    df = len(values) - 1
    quantile = T_975[df - 1] if df <= len(T_975) else 1.96 + 2.4 / df
    return mean, quantile * statistics.stdev(values) / math.sqrt(len(values))


def shown(values: Sequence[float | None]) -> str:
    """`0.138 ± 0.021`, with as many places as the interval has digits that mean something."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean, half = interval(known)
    places = 3 if abs(mean) < 10 else 2
    text = f"{mean:.{places}f}"
    return text if half is None else f"{text} <small>± {half:.{places}f}</small>"


def results_table(data: Json) -> str:
    """One table of a result: a row per method or ablation, a column per metric."""
    columns = list(data["columns"])
    rows = []
    for row in data["rows"]:
        settings = ", ".join(f"{name} {_setting(value)}" for name, value in row["settings"].items())
        cells = [shown(row["metrics"].get(column, ())) for column in columns]
        rows.append([f"<b>{escape(row['name'])}</b>", escape(settings), *cells])
    head = ["Row", "Settings", *(code(column) for column in columns)]
    note = f"{escape(data['note'])}\n{{ .note }}" if data.get("note") else ""
    return join(f"### {escape(data['title'])}", table(head, rows), note)


def _setting(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)


def verdicts(page: Page, method: str) -> dict[str, Json]:
    """Claim -> the verdict of the last result that has one."""
    return {
        verdict["claim"]: verdict
        for result in page.atlas.results.get(method, ())
        for verdict in result["verdicts"]
    }


def verdict_badge(verdict: str) -> str:
    return badge(verdict, verdict.replace(" ", "-"))


def numbers(verdict: Json) -> str:
    return ", ".join(
        f"{code(name)} {number(value) if isinstance(value, (int, float)) else escape(value)}"
        for name, value in verdict["numbers"].items()
    )


def report(result: Json) -> str:
    """One result in full, below the heading of its section."""
    versions = ", ".join(f"{name} {value}" for name, value in result["versions"].items())
    seeds = result["seeds"]
    spread = (
        f"Mean and 95 % t-interval over {len(seeds)} seeds."
        if len(seeds) > 1
        else "One seed, so there is no interval."
    )
    about = (
        f"World {code(result['world'])}, version {escape(result['world_version'])}; "
        f"{escape(result['date'])}; {escape(result['machine'])}; {escape(versions)}. {spread}"
    )
    found = [
        [verdict_badge(v["verdict"]), escape(v["text"]), numbers(v)] for v in result["verdicts"]
    ]
    return join(
        about,
        *(results_table(each) for each in result["tables"]),
        _curves(result),
        join("### Verdicts", table(["Verdict", "Claim", "Numbers"], found)) if found else "",
        _checks(result),
        "Made by:",
        block_of_code(result["command"], "bash"),
    )


def smoke(run: Json) -> str:
    """What one run at a script's own settings gave, and what its data steps counted."""
    (data, *_), checks = run["tables"], run["checks"]
    spent, columns = run["cpu_seconds"], list(data["columns"])
    rows = []
    for row in data["rows"]:
        took = spent.get(row["name"])
        told = "" if took is None else f"{took:.0f}"
        cells = [shown(row["metrics"].get(column, ())) for column in columns]
        rows.append([f"<b>{escape(row['name'])}</b>", told, *cells])
    head = ["Row", "CPU-seconds", *(code(column) for column in columns)]
    condition = ", ".join(f"{name} {level}" for name, level in run["condition"].items())
    about = (
        f"{badge('one seed, smoke run, not a study', 'open')} It shows that the script runs, and "
        "what its data step does; a difference between rows may be chance. World "
        f"{code(run['world'])}, version {escape(run['world_version'])}"
        + (f", {escape(condition)}" if condition else "")
        + f"; settings as the script has them; {run['protocol']['held_out']} held-out items; "
        f"commit {code(run['commit'][:10])}; {escape(run['date'])}."
    )
    lines = [_budget(checks), *(_data_step(name, tally) for name, tally in checks["data"].items())]
    own = next((row for row in data["rows"] if row["name"] == run["method"]), None)
    same = [row["name"] for row in data["rows"] if own and row["metrics"] == own["metrics"]]
    if len(same) > 1:
        lines.append(
            f"Equal to the last digit: {', '.join(map(escape, same))}. Baselines train on the "
            "method's own rows; here the objective is the same, too: the method is its data."
        )
    return join(
        about,
        table(head, rows),
        "\n".join(f"- {line}" for line in lines),
        "Numbers of seconds leave out what a row before it had made, such as answers and pairs.\n"
        "{ .note }",
        "Made by:",
        block_of_code(run["command"], "bash"),
    )


def _budget(checks: Json) -> str:
    """What each row was given to learn from."""
    budgets: dict[str, list[str]] = {}
    for row, budget in checks["budget"].items():
        told = ", ".join(f"{value} {name}" for name, value in budget.items() if value is not None)
        budgets.setdefault(told, []).append(escape(row))
    return "Budget: " + "; ".join(f"{t} for {', '.join(rows)}" for t, rows in budgets.items()) + "."


def _checks(result: Json) -> str:
    """What could make a verdict an artefact: the edge of the grid, the data step, the budget."""
    checks = result.get("checks")
    if not checks:
        return ""
    edge = ", ".join(escape(row) for row in checks["edge"])
    lines = [
        "Grid: the best rate or beta is the last one that was tried for "
        + (f"{edge}, so a better one may lie beyond." if edge else "none of the rows."),
        _budget(checks),
        *(_data_step(name, tally) for name, tally in checks["data"].items()),
    ]  # fmt: skip
    return join("### What could mislead", "\n".join(f"- {line}" for line in lines))


def _data_step(name: str, tally: Json) -> str:
    rules = ", ".join(f"{escape(rule)} {count}" for rule, count in tally["rules"].items())
    parts = [f"Data of {escape(name)} (first seed): {tally['pairs']} pairs"]
    if rules:
        parts.append(f"by rule: {rules}")
    if "truly_better" in tally:
        parts.append(
            f"chosen truly better in {tally['truly_better']:.0%}, equal in "
            f"{tally['truly_equal']:.0%}; {tally['chosen_words']:.1f} and "
            f"{tally['rejected_words']:.1f} words; {tally['chosen_parsed']:.0%} and "
            f"{tally['rejected_parsed']:.0%} in form"
        )
    for reward, curve in tally.get("selection", {}).items():
        counts, rewards, scores = (
            ", ".join(f"{value:.3g}" for value in curve[what])
            for what in ("n", "reward", "true_score")
        )
        parts.append(f"best of {counts} by {escape(reward)}: reward {rewards}; true score {scores}")
    return "; ".join(parts) + "."


def _curves(result: Json) -> str:
    """Learning curves, where the result has any."""
    if not result["curves"]:
        return ""
    both = curves.beside_the_truth(result["curves"])
    drawn = (curves.PROXY, curves.TRUE) if both else ()
    shown = [curves.chart(each) for each in result["curves"] if each["metric"] not in drawn]
    return join("### Learning curves", *both, *shown)


def overview(atlas: Atlas) -> str:
    """The page of all results."""
    page = Page(atlas, "lab/results.md")
    rows = []
    for method, results in atlas.results.items():
        for result in results:
            counts: dict[str, int] = {}
            for verdict in result["verdicts"]:
                counts[verdict["verdict"]] = counts.get(verdict["verdict"], 0) + 1
            told = " ".join(verdict_badge(f"{v}") + f" {n}" for v, n in sorted(counts.items()))
            ref = f"method:{method}"
            place = "lab" if len(results) < 2 else f"lab-{result['world']}"
            name = (
                page.to(f"methods/{method}.md#{place}", escape(atlas.nodes[ref].name))
                if ref in atlas.nodes
                else escape(method)
            )
            world = f"{escape(result['world'])}, version {escape(result['world_version'])}"
            rows.append([name, world, str(len(result["seeds"])), told, escape(result["date"])])
    if not rows:
        return "No result is committed yet."
    return table(["Method", "World", "Seeds", "Verdicts", "Date"], rows)


def baselines(results: Iterable[Json], world: str) -> str:
    """Base, SFT and DPO rows of one world, from the first result whose main table has them."""
    for result in results:
        if result["world"] != world:
            continue
        for data in result["tables"]:
            rows = [row for row in data["rows"] if row["name"] in ("base", "sft", "dpo")]
            if len(rows) > 1:
                return results_table({**data, "rows": rows, "title": "Baselines"})
    return "No result of this world is committed yet."
