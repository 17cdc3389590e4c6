"""The errors that potentials tell of W_2 and of the Sinkhorn divergence, over the truth: whole, crossed, used.

    python benchmarks/potentials.py [--trials 400] [--points 200] [--out FILE]

Of many pairs of clouds: the mean of the told variances of W_2² and S_ε over the variance of the values, 1 being right.
`whole` is Var f/n + Var g/m, `crossed` has the covariances with the potentials of the half that does not hold a point,
`used` is what `evaluate` tells (`metrics.evaluation.potentials`). 400 trials give the variance of the values to 7 %.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import torch
from timing import machine
from torch import Tensor
from tqdm import tqdm

from metrics import files
from metrics.distances import product_distances
from metrics.evaluation.influence import Influence
from metrics.evaluation.potentials import sinkhorn_influence, transport_influence

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


def gaussians(d: int, *, apart: bool) -> Draw:
    """N(0, I) and, where they are to differ, samples .3 off along every axis with spreads from .7 to 1.4."""
    scale = torch.linspace(0.7, 1.4, d, dtype=torch.float64) if apart else torch.ones(d, dtype=torch.float64)

    def draw(n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        x, y = torch.randn(2, n, d, generator=random, dtype=torch.float64).unbind()
        return scale * x + (0.3 if apart else 0.0), y

    return draw


def rings(n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Eight narrow modes on a circle, twice the same."""
    angle = torch.randint(8, (2, n), generator=random).double() * (math.pi / 4)
    points = torch.stack([angle.cos(), angle.sin()], 2)
    x, y = points + 0.01 * torch.randn(2, n, 2, generator=random, dtype=torch.float64)
    return x, y


CASES: dict[str, Draw] = {
    f"Gaussians, d = {d}, {'apart' if apart else 'P = Q'}": gaussians(d, apart=apart)
    for d in (2, 8, 32, 128, 512)
    for apart in (True, False)
} | {"ring of 8 modes, P = Q": rings}


def told(found: Influence) -> tuple[float, float, float, float]:
    """The value and its variance: whole, crossed, used."""
    assert found.apart is not None
    whole = float(found.x.var() / len(found.x) + found.y.var() / len(found.y))
    pairs = zip((found.x, found.y), found.apart, strict=True)
    crossed = sum(float(torch.cov(torch.stack([f, other]))[0, 1]) / len(f) for f, other in pairs)
    return float(found.value), whole, crossed, float(found.stderr) ** 2


def row(draw: Draw, trials: int, points: int, name: str) -> str:
    """One case: three ratios for each distance."""
    random = torch.Generator().manual_seed(0)
    found: dict[str, list[tuple[float, ...]]] = {"W": [], "S": []}
    for _ in tqdm(range(trials), desc=name, disable=None):
        x, y = draw(points, random)
        found["W"].append(told(transport_influence(product_distances(x, y))))
        found["S"].append(told(sinkhorn_influence(x, y)))
    cells = []
    for values in found.values():
        columns = torch.tensor(values, dtype=torch.float64).T
        cells += [f"{float(c.mean() / columns[0].var()):.2f}" for c in columns[1:]]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Go through the cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    noise = 100 * math.sqrt(2 / args.trials)
    lines = [
        "Told variance over the variance of the values, 1 being right, "
        f"± {noise:.0f}%: {args.trials} pairs of {args.points} points a cloud.",
        f"{machine()}.",
        "",
        "| clouds | W₂², whole | crossed | used | S_ε, whole | crossed | used |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, draw in CASES.items():
        lines.append(row(draw, args.trials, args.points, name))
        print(lines[-1], flush=True)
    if args.out is not None:
        files.write_text(args.out, "\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
