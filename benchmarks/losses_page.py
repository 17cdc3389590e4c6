"""The page of `losses.py`: its table, its picture and its answer, from the numbers."""

import math
import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import mannwhitneyu

__all__ = ["DESCENDS", "answer", "draw", "ranks", "table", "tuning_table"]

Found = dict[str, dict[str, Sequence[float]]]
"""Of each loss and measure the values of all seeds."""

DESCENDS = {
    "js": "JS by a critic",
    "kl": "KL(data‖samples)",
    "dv": "KL(data‖samples)",
    "reverse-kl": "KL(samples‖data)",
    "wgan": "W1",
    "wgan-gp": "W1",
    "wgan-lp": "W1",
    "sinkhorn": "sinkhorn",
    "mmd": "mmd2",
    "energy": "energy",
    "sliced": "sliced W2",
}
"""The measure whose divergence a loss descends, where there is one among them."""

NEAR = {"density": 1.0, "1-NN": 0.5}
HIGHER = {"precision", "recall", "coverage", "modes", "high quality"}
LEVEL = 0.05
"""Of the one-sided Mann-Whitney test over seeds, by which one loss counts as clearly better than another."""


def loss_of(measure: str, value: float) -> float:
    """How bad a value is: lower is better."""
    if measure in NEAR:
        return abs(value - NEAR[measure])
    if measure.endswith("by a critic"):
        return max(value, 0.0)  # a lower bound below 0 says no more than 0 does
    return -value if measure in HIGHER else value


def ranks(found: Found, measure: str) -> dict[str, int]:
    """The rank of each loss's mean, 1 the best; equals share the better rank.

    >>> ranks({"a": {"W1": (2.0, 2.2)}, "b": {"W1": (1.0, 1.2)}, "c": {"W1": (2.0, 2.2)}}, "W1")
    {'a': 2, 'b': 1, 'c': 2}
    """
    bad = {name: loss_of(measure, statistics.fmean(row[measure])) for name, row in found.items()}
    return {name: 1 + sum(other < value for other in bad.values()) for name, value in bad.items()}


def tied(found: Found, measure: str) -> list[str]:
    """The losses that the best is not clearly better than, the best first.

    A test of ranks over the seeds: one run that went wrong makes a standard error so large that everything would be
    level within it. Three seeds against three can just reach the level, two cannot.

    >>> steady, wild, worse = (1.0, 1.1, 1.2, 1.3), (2.0, 2.1, 2.2, 90.0), (1.0, 1.2, 1.1, 5.0)
    >>> tied({"a": {"W1": steady}, "b": {"W1": wild}, "c": {"W1": worse}}, "W1")
    ['a', 'c']
    """
    best, *others = sorted(found, key=ranks(found, measure).__getitem__)
    bad = {name: [loss_of(measure, value) for value in row[measure]] for name, row in found.items()}
    level = [
        name
        for name in others
        if mannwhitneyu(bad[best], bad[name], alternative="less", method="auto").pvalue > LEVEL
    ]
    return [best, *level]


def table(found: Found, floor: dict[str, float]) -> str:
    """Losses down, measures across, as Markdown."""
    lines = [f"| loss | {' | '.join(floor)} |", "|---" * (len(floor) + 1) + "|"]
    lines.append(f"| floor | {' | '.join(f'{value:.3g}' for value in floor.values())} |")
    first = {measure: ranks(found, measure) for measure in floor}
    for name, row in found.items():
        cells = []
        for measure in floor:
            values = row[measure]
            told = f"{statistics.fmean(values):.3g}"
            if len(values) > 1:
                told += f" ± {statistics.stdev(values) / math.sqrt(len(values)):.1g}"
            cells.append(f"**{told}**" if first[measure][name] == 1 else told)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def answer(found: Found) -> str:
    """Who wins under which measure, and whether who descends D wins under D, as text."""
    measures = list(next(iter(found.values())))
    wins = []
    for measure in measures:
        first, *others = tied(found, measure)
        beside = f" (not clearly better than {', '.join(others)})" if others else ""
        wins.append(f"- {measure}: {first}{beside}")
    told, won, close = [], 0, 0
    pairs = {name: measure for name, measure in DESCENDS.items() if name in found and measure in measures}
    for name, measure in pairs.items():
        rank, level = ranks(found, measure)[name], name in tied(found, measure)
        won, close = won + (rank == 1), close + level
        beside = ", level with the best" if level and rank > 1 else ""
        told.append(f"- {name} under {measure}: rank {rank} of {len(found)}{beside}")
    parts = ["The best under each measure:", "\n".join(wins)]
    if any(len(values) < 2 for row in found.values() for values in row.values()):
        parts.insert(
            0, "One seed has no errors: what follows are ranks of single runs, and none is told from another."
        )
    if not pairs:
        return "\n\n".join(parts)
    head = (
        f"Does training on D win under D? Of {len(pairs)} losses that descend a measure here {won} are the best "
        f"under it, and {close} are best or level with the best (Mann-Whitney over seeds, one-sided, {LEVEL:.0%}):"
    )
    return "\n\n".join([*parts, head, "\n".join(told)])


def tuning_table(scores: dict[str, list[float]]) -> str:
    """What each loss's configurations scored after a quarter of the steps: the budget of tuning, and what it did."""
    lines = [
        "Tuning: the distance of 1-NN from ½ after a quarter of the steps, of the recipe and of the same random "
        "changes of it for each loss, one seed; 1 where a run diverged. The configuration of the table is in bold.",
        "",
        f"| loss | recipe | {' | '.join(f'change {k}' for k in range(1, len(next(iter(scores.values())))))} |",
        "|---" * (1 + len(next(iter(scores.values())))) + "|",
    ]
    for name, row in scores.items():
        first = row.index(min(row))
        cells = [f"**{value:.3f}**" if k == first else f"{value:.3f}" for k, value in enumerate(row)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(found: Found, title: str) -> Figure:
    """Ranks as a grid of greys with their numbers; a frame where the loss descends the measure."""
    names, measures = list(found), list(next(iter(found.values())))
    grid = np.array([[ranks(found, measure)[name] for measure in measures] for name in names])
    figure = Figure(figsize=(0.55 * len(measures) + 2.2, 0.32 * len(names) + 2.0), layout="constrained")
    axis = figure.subplots()
    axis.imshow(grid, cmap="Greys_r", vmin=-len(names) * 0.15, vmax=len(names) * 1.15, aspect="auto")
    for i, name in enumerate(names):
        for j, measure in enumerate(measures):
            dark = grid[i, j] < len(names) / 2
            axis.text(
                j, i, grid[i, j], ha="center", va="center", fontsize=8, color="white" if dark else "black"
            )
            if DESCENDS.get(name) == measure:
                box = axis.add_patch(_frame(i, j))
                box.set_clip_on(False)
    axis.set_xticks(
        range(len(measures)), measures, rotation=55, ha="right", rotation_mode="anchor", fontsize=8
    )
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_title(f"{title}: rank under each measure, 1 the best; framed: the loss descends it", fontsize=9)
    return figure


def _frame(row: int, column: int):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, edgecolor="#D55E00", linewidth=2)
