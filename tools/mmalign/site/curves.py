"""Learning curves of the lab as line charts, and the same as a table."""

from __future__ import annotations

from collections.abc import Sequence

from mmalign.site import charts
from mmalign.site.text import code, escape, table
from mmalign.vocabulary import Json

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 240, 48, 120, 12, 26
"""Size of a chart and of its margins; lines are named in the right one."""
EVERY = 10
"""The table has every tenth step."""
ESTIMATES = {"kl": " (of each row as its own objective estimates it, which may differ)"}
"""What has to be said beside a metric."""


def chart(data: Json) -> str:
    """One metric: a line per row of the result, with its name at its end."""
    lines = data["lines"]
    longest = max(len(line["values"]) for line in lines)
    values: list[float] = [value for line in lines for value in line["values"]]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def x(step: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / max(longest - 1, 1)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / span

    inner = "".join(
        f'<path class="rule" d="M{LEFT} {y(at):.1f}H{WIDTH - RIGHT}"/>'
        + charts.text(LEFT - 6, y(at) + 4, f"{at + 0.0:.3g}", ' text-anchor="end"')
        for at in (low, (low + high) / 2, high)
    )
    for step in (1, longest):
        inner += charts.text(x(step - 1), HEIGHT - 8, f"step {step}", ' text-anchor="middle"')
    for number, (line, end) in enumerate(zip(lines, _apart([y(ln["values"][-1]) for ln in lines]),
                                             strict=True)):  # fmt: skip
        points = " ".join(f"{x(n):.1f},{y(value):.1f}" for n, value in enumerate(line["values"]))
        inner += f'<polyline class="line l{number % 6}" points="{points}"/>'
        end_of = x(len(line["values"]) - 1)
        inner += charts.text(end_of + 6, end + 4, line["row"], f' class="l{number % 6}"')
    label = f"{data['metric']} at each step of training, mean over the seeds"
    picture = charts.figure(
        "curves", charts.svg((0, 0, WIDTH, HEIGHT), label, inner), f"Chart: {label}"
    )
    says = code(data["metric"]) + ESTIMATES.get(data["metric"], "")
    return f"<div><p>{says}, mean over the seeds:</p>{picture}{_numbers(data)}</div>"


PROXY, TRUE = "reward", "true_score"
"""What was trained for, and how good the same answers truly were."""


def beside_the_truth(data: Sequence[Json]) -> list[str]:
    """A chart for each row that logs both a reward and the true score: two lines, each on a scale
    of its own. A reward that rises while the truth falls is one that is hacked."""
    by_metric = {each["metric"]: {line["row"]: line for line in each["lines"]} for each in data}
    rewards, truths = by_metric.get(PROXY, {}), by_metric.get(TRUE, {})
    return [_two(rewards[row], truths[row]) for row in rewards if row in truths]


def _two(reward: Json, true: Json) -> str:
    longest = max(len(reward["values"]), len(true["values"]))
    edge = WIDTH - RIGHT
    inner = f'<path class="rule" d="M{LEFT} {HEIGHT - BOTTOM}H{edge}"/>'
    for number, (line, name) in enumerate(((reward, "reward"), (true, "true score"))):
        low, high = min(line["values"]), max(line["values"])
        span = (high - low) or 1.0
        steps = max(longest - 1, 1)
        places = [
            (
                LEFT + (edge - LEFT) * step / steps,
                TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / span,
            )
            for step, value in enumerate(line["values"])
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        inner += f'<polyline class="line l{number}" points="{points}"/>'
        at, anchor = (LEFT - 6, "end") if not number else (edge + 6, "start")
        more = f' text-anchor="{anchor}" class="l{number}"'
        inner += charts.text(at, TOP + 4, f"{high:.3g}", more)
        inner += charts.text(at, HEIGHT - BOTTOM + 4, f"{low:.3g}", more)
        middle = TOP + (HEIGHT - TOP - BOTTOM) * (0.4 + 0.15 * number)
        inner += charts.text(edge + 6, middle, name, f' class="l{number}"')
    for step in (1, longest):
        x = LEFT + (edge - LEFT) * (step - 1) / max(longest - 1, 1)
        inner += charts.text(x, HEIGHT - 8, f"step {step}", ' text-anchor="middle"')
    label = f"reward (left scale) and true score (right scale) of {reward['row']} at each step"
    picture = charts.figure(
        "curves", charts.svg((0, 0, WIDTH, HEIGHT), label, inner), f"Chart: {label}"
    )
    both = {"lines": [{**reward, "row": "reward"}, {**true, "row": "true score"}]}
    return (
        f"<div><p>Reward (left scale) and true score (right scale) of {escape(reward['row'])}, "
        f"mean over the seeds:</p>{picture}{_numbers(both)}</div>"
    )


def _apart(ends: Sequence[float], gap: float = 13) -> list[float]:
    """Heights of the names of lines, pushed down where they would touch."""
    placed: dict[int, float] = {}
    last = float("-inf")
    for place in sorted(range(len(ends)), key=ends.__getitem__):
        last = placed[place] = max(ends[place], last + gap)
    return [placed[place] for place in range(len(ends))]


def _numbers(data: Json) -> str:
    lines = data["lines"]
    longest = max(len(line["values"]) for line in lines)
    steps = [step for step in range(1, longest + 1) if step == 1 or step % EVERY == 0]
    rows = [
        [
            str(step),
            *(f"{ln['values'][step - 1]:g}" if step <= len(ln["values"]) else "" for ln in lines),
        ]
        for step in steps
    ]
    head = ["Step", *(escape(line["row"]) for line in lines)]
    return f"<details><summary>As numbers</summary>{table(head, rows)}</details>"
