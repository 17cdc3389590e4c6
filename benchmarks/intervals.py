"""Do 95 % intervals cover? Every measure that claims a standard error, over 500 pairs of Gaussian samples.

    python benchmarks/intervals.py [--trials 500] [--points 500] [--splits 10] [--dims 2 8]
                                   [--rows mmd2 frechet_distance] [--out benchmarks/results] [--keep out/intervals]

Each trial draws 500 points of each of two Gaussians and asks `evaluate` for its intervals, or draws forecasts with
their outcomes and asks the scores. An interval is for the mean of the estimator at these sizes, bias included: here the
mean over the trials. As that holds the trial itself, deviations from it are stretched by √(T/(T − 1)) to the variance
of deviations from the true mean. 500 trials give a coverage to ±1 %. Trials are kept as they come: a run that was cut
off goes on, and dimensions can run side by side before one run tells of all. With --rows only these standard measures
are asked, no forecasts, and the table goes to intervals_rows.md with the shares of means that were missed on either
side: a squared distance's should be equal.
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from timing import machine
from torch import Tensor
from tqdm import tqdm

import metrics
from metrics import files
from metrics.chains import monte_carlo_error

Numbers = dict[str, tuple[float, float, float]]
"""From a name to value and interval."""

CHUNK = 20


@dataclass(frozen=True)
class Case:
    """A law of trials: its name, and one trial from a generator."""

    name: str
    trial: Callable[[torch.Generator], Numbers]


def clouds(
    d: int, points: int, splits: int, rows: list[str] | None = None
) -> Callable[[torch.Generator], Numbers]:
    """N(0, I) as the reference, samples 0.3 off along every axis with spreads from 0.7 to 1.4."""
    scale = torch.linspace(0.7, 1.4, d)
    chosen = [m for m in metrics.standard_measures() if rows is None or any(r.name in rows for r in m.rows)]

    def trial(generator: torch.Generator) -> Numbers:
        x, y = torch.randn(2, points, d, generator=generator, dtype=torch.float64).unbind()
        asked = {"generator": generator, "splits": splits, "permutations": 0}
        report = metrics.evaluate(scale * x + 0.3, y, measures=chosen, **asked)
        return {name: (e.value, *e.interval()) for name, e in report.estimates.items()}

    return trial


def forecasts(points: int) -> Callable[[torch.Generator], Numbers]:
    """Forecasts of `points` outcomes that are a little overconfident, two scores of unknown inputs, four chains."""

    def trial(generator: torch.Generator) -> Numbers:
        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        mean, std = normal(points), 0.8 + 0.4 * normal(points).abs()
        y = mean + 1.2 * std * normal(points)
        samples = mean + std * normal(points, 20).T
        low, high = mean - 1.645 * std, mean + 1.645 * std
        logits = normal(points, 3)
        labels = torch.multinomial((0.7 * logits).softmax(1), 1, generator=generator)[:, 0]
        probs, other = logits.softmax(1), (logits + 0.5 * normal(points, 3)).softmax(1)
        scores = {
            "brier_score": metrics.brier_score(probs, labels, per_point=True),
            "categorical_nll": metrics.categorical_nll(probs, labels, per_point=True),
            "gaussian_nll": metrics.gaussian_nll(mean, std, y, per_point=True),
            "crps_gaussian": metrics.crps_gaussian(mean, std, y, per_point=True),
            "crps_ensemble": metrics.crps_ensemble(samples, y, per_point=True),
            "energy_score": metrics.energy_score(
                normal(points, 10, 2).transpose(0, 1) + mean[:, None],
                normal(points, 2) + mean[:, None],
                per_point=True,
            ),
            "interval_score": metrics.interval_score(low, high, y, level=0.9),
            "agreement": metrics.agreement(probs, other, per_point=True),
            "total_variation": metrics.total_variation(probs, other, per_point=True),
        }
        found = {name: normal_interval(s.mean(), s.std() / math.sqrt(points)) for name, s in scores.items()}
        inside = metrics.interval_coverage(samples, y, level=0.9)
        found["interval_coverage"] = normal_interval(inside.coverage, inside.coverage_stderr)
        auroc = metrics.out_of_distribution_auroc(inside=normal(points), outside=normal(points) + 0.8)
        found["out_of_distribution_auroc"] = (auroc.value, *auroc.interval())
        chains = autoregression(normal(4, points))
        found["mean of four chains"] = normal_interval(chains.mean(), monte_carlo_error(chains))
        return found

    return trial


def normal_interval(value: Tensor, stderr: Tensor) -> tuple[float, float, float]:
    e = metrics.Estimate(float(value), float(stderr), "lower", "", (0, 0))
    return e.value, *e.interval()


def autoregression(noise: Tensor) -> Tensor:
    """x_t = 0.5 x_{t−1} + ε_t from its stationary law."""
    x = [noise[:, 0] / math.sqrt(1 - 0.25)]
    for t in range(1, noise.shape[1]):
        x.append(0.5 * x[-1] + noise[:, t])
    return torch.stack(x, 1)


def collected(case: Case, trials: int, kept: Path) -> tuple[list[str], Tensor]:
    """Return the names and [trials, rows, 3]; those that an earlier run has kept are not drawn again."""
    names, done = [], torch.zeros(0, 0, 3, dtype=torch.float64)
    if kept.exists():
        tensors, told = files.read(kept)
        done, names = tensors["trials"], list(told["names"])  # pyright: ignore[reportArgumentType]
    with tqdm(total=trials, initial=len(done), desc=case.name) as bar:
        while len(done) < trials:
            fresh = []
            for k in range(len(done), min(len(done) + CHUNK, trials)):
                found = case.trial(torch.Generator().manual_seed(k))
                names = list(found)
                fresh.append(torch.tensor(list(found.values()), dtype=torch.float64))
                bar.update()
            done = torch.cat([done, torch.stack(fresh)]) if len(done) else torch.stack(fresh)
            files.write(kept, {"trials": done}, {"names": names})
    return names, done[:trials]


@dataclass(frozen=True)
class Covered:
    """Shares of trials, and the half width over that of the true 95 % interval."""

    share: float
    below: float
    above: float
    width: float


def table(names: list[str], trials: Tensor) -> dict[str, Covered]:
    """Return coverage, the means below and above the interval, and its width, by name."""
    value, low, high = trials.unbind(2)
    mean = value.mean(0)
    # Deviations from the mean of the same trials are a little short.
    short = math.sqrt(len(value) / (len(value) - 1))
    deviation = short * (value - mean)
    below, above = (deviation > value - low).double().mean(0), (-deviation > high - value).double().mean(0)
    width = ((high - low) / 2).square().mean(0).sqrt() / (1.96 * value.std(0))
    columns = (column.tolist() for column in (1 - below - above, below, above, width))
    return {name: Covered(*row) for name, *row in zip(names, *columns, strict=True)}


def of_rows(args: argparse.Namespace) -> list[str]:
    """The table of some rows, with both misses."""
    asked, head = "-".join(args.rows), ["measure"]
    cells: dict[str, list[str]] = {}
    for d in args.dims:
        case = Case(f"{d} dimensions", clouds(d, args.points, args.splits, args.rows))
        kept = args.keep / f"{d}-dimensions-{args.points}-{args.splits}-{asked}.safetensors"
        head.append(case.name)
        for name, c in table(*collected(case, args.trials, kept)).items():
            told = f"{c.share:.1%} ({c.below:.1%} below, {c.above:.1%} above; {c.width:.2f})"
            cells.setdefault(name, []).append(told)
    noise = math.sqrt(0.95 * 0.05 / args.trials)
    return [
        f"Coverage of 95 % intervals over {args.trials} trials, ± {noise:.1%}; in brackets how often the mean was",
        "below or above, and the width (r.m.s.) over 3.92 true standard deviations.",
        f"{args.points} points a cloud; {machine()}.",
        "",
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *(f"| {name} | {' | '.join(row)} |" for name, row in cells.items()),
    ]


def main(argv: list[str] | None = None) -> int:
    """Run all cases; print and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 8])
    parser.add_argument(
        "--rows", nargs="+", metavar="MEASURE", help="some standard measures, and no forecasts"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--keep", type=Path, default=Path("out/intervals"), help="where trials are kept")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    if args.rows:
        told = of_rows(args)
        print("\n".join(told))
        files.write_text(args.out / "intervals_rows.md", "\n".join(told) + "\n")
        return 0
    cases = [Case(f"{d} dimensions", clouds(d, args.points, args.splits)) for d in args.dims]
    results = []
    for case in [Case("forecasts", forecasts(args.points)), *cases]:
        slug = case.name.replace(" ", "-")
        names, trials = collected(
            case, args.trials, args.keep / f"{slug}-{args.points}-{args.splits}.safetensors"
        )
        results.append(table(names, trials))
    noise = math.sqrt(0.95 * 0.05 / args.trials)
    lines = [
        f"Coverage of 95 % intervals over {args.trials} trials, ± {noise:.1%}; in brackets their width (r.m.s.)",
        f"over 3.92 true standard deviations. {args.points} points a cloud, {args.splits} splits; {machine()}.",
        "",
        "| measure | " + " | ".join(case.name for case in cases) + " |",
        "|---|" + "---|" * len(cases),
    ]
    for name in results[1]:
        cells = [f"{found[name].share:.1%} ({found[name].width:.2f})" for found in results[1:]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", f"| score of {args.points} forecasts | coverage |", "|---|---|"]
    lines += [f"| {name} | {c.share:.1%} ({c.width:.2f}) |" for name, c in results[0].items()]
    print("\n".join(lines))
    files.write_text(args.out / "intervals.md", "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
