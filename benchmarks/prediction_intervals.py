"""Do the 95 % intervals of `metrics.evaluate_predictions` cover? All rows and paired differences, simulated test sets.

    python benchmarks/prediction_intervals.py [--trials 500] [--points 1000] [--out benchmarks/results]

Each trial draws a test set and what three models say of it: *true* knows the probabilities, *noisy* is near them
with errors of its own, *sure* has them too sharp by half. An interval is for the mean of the row at this size, bias
included: here the mean over the trials. As that holds the trial itself, deviations from it are stretched by √(T/(T
− 1)). 500 trials give a coverage to ±1 %. In brackets: the mean standard error over the deviation of the values
over trials.
"""

import argparse
import math
from pathlib import Path

import torch
from timing import machine
from torch.distributions import Normal
from tqdm import tqdm

from metrics import PredictionComparison, evaluate_predictions

MODELS = ("true", "noisy", "sure")


def classes(points: int, random: torch.Generator) -> PredictionComparison:
    """Five classes of unequal size, 10 samples; strangers whose logits are flatter; a reference that is fixed."""

    def logits(n: int, spread: float) -> torch.Tensor:
        return spread * torch.randn(n, 5, generator=random, dtype=torch.float64) + torch.linspace(0, 1, 5)

    def predict(z: torch.Tensor) -> dict[str, torch.Tensor]:
        noise = torch.randn(10, len(z), 5, generator=random, dtype=torch.float64)
        own = 0.4 * torch.randn(len(z), 5, generator=random, dtype=torch.float64)
        return {
            "true": z.softmax(-1)[None].expand(10, -1, -1),
            "noisy": (z + own + 0.4 * noise).softmax(-1),
            "sure": (1.5 * z + 0.2 * noise).softmax(-1),
        }

    z = logits(points, 1.5)
    labels = torch.multinomial(z.softmax(1), 1, generator=random)[:, 0]
    reference = (0.9 * z).softmax(-1)[None]
    return evaluate_predictions(
        predict(z),
        labels,
        reference=reference,
        outside={"strangers": predict(logits(points // 2, 0.8))},
        ordinal=True,
    )


def regression(points: int, random: torch.Generator) -> PredictionComparison:
    """Regression: y ~ N(f, 1) with functions that scatter, 20 samples."""
    f = torch.randn(points, generator=random, dtype=torch.float64)
    y = f + torch.randn(points, generator=random, dtype=torch.float64)
    scatter = torch.randn(20, points, generator=random, dtype=torch.float64)
    own = 0.4 * torch.randn(points, generator=random, dtype=torch.float64)
    models = {
        "true": (f, torch.ones_like(f)),
        "noisy": Normal(f + own + 0.4 * scatter, 1.0),
        "sure": Normal(f + 0.2 * scatter, 0.7),
    }
    return evaluate_predictions(models, y, reference=Normal(f, 1.1), baseline="true")


def labels(points: int, random: torch.Generator) -> PredictionComparison:
    """Four labels a point that depend on each other through a common cause."""
    cause = torch.randn(points, 1, generator=random, dtype=torch.float64)
    z = cause + torch.randn(points, 4, generator=random, dtype=torch.float64)
    y = torch.rand(points, 4, generator=random, dtype=torch.float64) < z.sigmoid()
    noise = torch.randn(10, points, 4, generator=random, dtype=torch.float64)
    models = {"true": z[None], "noisy": z + 0.8 * noise, "sure": 2 * z + 0.2 * noise}
    return evaluate_predictions({name: one.sigmoid() for name, one in models.items()}, y)


def covered(case, trials: int, points: int) -> dict[str, list[str]]:
    """From a row to its coverage by each model and each difference, as cells."""
    found: dict[tuple[str, str], list[tuple[float, float, float, float]]] = {}
    for seed in tqdm(range(trials), desc=case.__name__):
        comparison = case(points, torch.Generator().manual_seed(seed))
        for row in comparison.measures():
            columns = {name: comparison.reports[name][row] for name in MODELS}
            columns |= {f"{n} − true": comparison.differences[n][row] for n in MODELS[1:]}
            for name, e in columns.items():
                found.setdefault((row, name), []).append((e.value, e.stderr, *e.interval()))
    cells: dict[str, list[str]] = {}
    for (row, _), values in found.items():
        value, stderr, low, high = torch.tensor(values, dtype=torch.float64).unbind(1)
        scatter = float(value.std())
        if scatter < 1e-10:
            cells.setdefault(row, []).append("the same in all")
            continue
        stretch = math.sqrt(trials / (trials - 1))
        gap = (value.mean() - value) * stretch
        inside = ((low - value <= gap) & (gap <= high - value)).double().mean()
        cells.setdefault(row, []).append(f"{100 * float(inside):.1f} ({float(stderr.mean()) / scatter:.2f})")
    return cells


CASES = {case.__name__: case for case in (classes, labels, regression)}


def main() -> None:
    """Print the tables and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    head = ["row", *MODELS, *(f"{name} − true" for name in MODELS[1:])]
    lines = [
        f"Coverage in percent of 95 % intervals over {args.trials} simulated test sets of {args.points} points, "
        f"± {100 * math.sqrt(0.95 * 0.05 / args.trials):.1f}; in brackets the mean standard error over the",
        f"deviation of the values over test sets. Differences are paired. {machine()}.",
    ]
    for case in (CASES[name] for name in args.cases):
        lines += ["", f"{(case.__doc__ or '').splitlines()[0]}", ""]
        lines += [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        cells = covered(case, args.trials, args.points)
        lines += [f"| {' | '.join([row, *told])} |" for row, told in cells.items()]
    text = "\n".join(lines) + "\n"
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "prediction_intervals.md").write_text(text)


if __name__ == "__main__":
    main()
