"""Samplers against posteriordb's reference draws: `python benchmarks/posteriordb.py --data-dir DIR [--out FILE]`.

Every regression of posteriordb's that the folder holds, its noise σ inferred too on the log scale, is sampled by

    SGD at mode   PreconditionedSGD, H = 2(A + NC/S)⁻¹ with A and C of the mode, nothing injected
    SGD exact     the same with the means of A and C over the posterior (`theory.LearnedScaleRegression`)
    corrected     H and Q of `theory.corrected_step`: at most a quarter of what is feasible
    IASG          means of T = 20 iterates, H = (4/T)A⁻¹, their covariance that of the posterior at finite T; where a
                  scale is inferred no sampler of the posterior

by many chains at once, and by NUTS in whitened coordinates; eight schools by NUTS alone. Before each run of the first
three the theory tells what it expects (`LearnedScaleRegression.forecast`). Per parameter: the difference of the means
in standard deviations of the reference, and the ratio of the standard deviations, with the Monte-Carlo errors of both
sides. Per posterior: chains that left, the sliced W₂ to the reference, in its standard deviations, over that between
the reference's own halves at the same numbers of draws, and how many passes over the data an effective draw costs,
burn-in included.
"""

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from agreement import Agreement, compare, moments
from posteriordb_data import Known, eight_schools, natural, regressions, schools_draws
from sampling import FAR, Optimum, Run, iterates, optimum, whitened_nuts
from timing import machine
from torch import Tensor

from bayessgd import reference, theory
from bayessgd.samplers import Sampler
from metrics import sliced_wasserstein

CHAINS, DRAWS, NUTS_DRAWS, SPLITS, WINDOW = 100, 100, 1000, 8, 20
COLUMNS = [
    "posterior",
    "sampler",
    "forecast: sd ratios, tail index",
    "farthest draw, sd (chains that left)",
    "draws (effective: mean, sd)",
    "coefficients: worst Δmean / sd",
    "worst sd ratio",
    "σ: Δmean / sd",
    "sd ratio",
    "sliced W₂ over the floor",
    "passes per effective draw: mean, sd",
]
NOTE = f"""± is one standard error: the sampler's Monte-Carlo error and that of the reference's 10 × 1000 draws, added
in squares; of several coefficients the worst is told, which chance puts one to two errors off. Draws: {CHAINS} chains
× {DRAWS} (corrected, SGD exact, IASG), 2 × {NUTS_DRAWS} (NUTS), 4 × {NUTS_DRAWS} (eight schools); effective is the
smallest over the parameters, of θ and of (θ − mean)². Sliced W₂: mean over {SPLITS} splits of the reference, at the
same number of draws as the floor; its ± is what an exact sampler would scatter by. Forecast: the smallest and largest
ratio over all directions, and the order up to which moments exist (`theory.Forecast`); ⚠ where it warns. Farthest draw:
in standard deviations of Laplace's approximation at the mode; a chain that goes beyond {FAR:.0f} of them has left."""


def samplers(at: Optimum, regression: theory.LearnedScaleRegression) -> list[tuple[Sampler, str]]:
    """The four with their forecasts, with batches of N/10. IASG has S = κN/T, κ its finite window's share of 1/(ST)."""
    n = len(at.problem)
    S = max(2, n // 10)
    mode, exact = (
        theory.optimal_preconditioner(C, A=A, num_data=n, batch_size=S)
        for A, C in ((at.A, at.C), (regression.curvature, regression.mean_noise))
    )
    short = theory.corrected_step(regression, batch_size=S)
    T = WINDOW
    step = 4 / T * at.inverse
    means = [
        theory.iterate_average_covariance(at.A, at.C, num_iterates=T, batch_size=1, preconditioner=H)
        for H in (step, None)
    ]
    kappa = float(means[0].trace() / means[1].trace())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the table has them
        told = [forecast(regression.forecast(preconditioner=H, batch_size=S)) for H in (mode, exact)]
    return [
        (chain("SGD at mode", S, mode, None, round(n / S)), told[0]),
        (chain("SGD exact", S, exact, None, round(n / S)), told[1]),
        (
            chain("corrected", S, short.preconditioner, short.injected, round(1 / short.rate)),
            forecast(short.forecast.within(0.07)),
        ),
        (chain("IASG", max(1, round(kappa * n / T)), step, None, T, window=T), "no sampler of the posterior"),
    ]


def forecast(told: theory.Forecast) -> str:
    """As a cell."""
    if told.radius >= 1:
        return "⚠ no covariance"
    low, high = told.extremes
    return f"{'' if told.holds else '⚠ '}{low:.2f}–{high:.2f}, {told.tail_index:.1f}"


def chain(name: str, S: int, H: Tensor, Q: Tensor | None, thin: int, window: int | None = None) -> Sampler:
    return Sampler(name, S, H, Q, burn_in=20 * thin, thin=thin, window=window)


@dataclass(frozen=True)
class Score:
    """How near to the reference, per parameter and as a whole, and at what cost."""

    draws: int
    effective: tuple[float, float]
    agreement: Agreement
    sliced: float
    floor: float
    scatter: float
    passes: float


def score(run: Run, known: Tensor) -> Score:
    """Compare a run with reference draws [chains, draws, p]."""
    found, truth = moments(run.draws), moments(known)
    flat, std, random = run.draws.flatten(0, 1), truth.std, torch.Generator().manual_seed(0)
    half = len(known) // 2
    size = min(len(flat), half * known.shape[1])
    distances, floors = [], []
    for _ in range(SPLITS):
        order = torch.randperm(len(known), generator=random)
        one, other = (known[part].flatten(0, 1) / std for part in (order[:half], order[half:]))
        some, few = (t[torch.randperm(len(t), generator=random)[:size]] for t in (flat / std, one))
        distances.append(float(sliced_wasserstein(some, other, num_projections=256)))
        floors.append(float(sliced_wasserstein(few, other, num_projections=256)))
    floor = torch.tensor(floors)
    return Score(
        len(flat),
        found.effective,
        compare(found, truth),
        sum(distances) / SPLITS,
        float(floor.mean()),
        float(floor.std() / floor.mean()),
        run.passes,
    )


def line(name: str, method: str, s: Score, *, told: str = "", run: Run) -> str:
    """A row; the coefficients are all but the last parameter, which is σ."""
    beta, sigma = slice(None, -1), slice(-1, None)
    cells = [
        told,
        f"{run.farthest:.1f} ({run.left})",
        f"{s.draws:,} ({s.effective[0]:,.0f}, {s.effective[1]:,.0f})",
        s.agreement.worst_shift(among=beta),
        s.agreement.worst_ratio(among=beta),
        s.agreement.worst_shift(among=sigma),
        s.agreement.worst_ratio(among=sigma),
        f"{s.sliced / s.floor:.2f} ± {s.scatter:.2f}",
        f"{s.passes / s.effective[0]:.1f}, {s.passes / s.effective[1]:.1f}",
    ]
    return f"| {name} | {method} | {' | '.join(cells)} |"


def schools(folder: Path) -> str:
    """Eight schools by NUTS."""
    known = eight_schools(folder)
    p = known.problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = reference.nuts(
            p.model,
            p.x,
            p.y,
            likelihood=p.likelihood,
            prior=p.prior,
            num_samples=NUTS_DRAWS,
            progress=False,
        )
    run = Run(schools_draws(found.by_chain()), float(found.origin["gradient_evaluations"]))
    return line(p.name, "NUTS", score(run, known.draws), run=run).replace("0.0 (0)", "")


def rows(known: Known) -> list[str]:
    """Sample one regression by every sampler."""
    at = optimum(known.problem)
    assert known.regression is not None
    runs = [
        (s.name, told, iterates(at, s, draws=DRAWS, num_chains=CHAINS))
        for s, told in samplers(at, known.regression)
    ]
    runs.append(("NUTS", "", whitened_nuts(at, num_samples=NUTS_DRAWS)))
    name, found = known.problem.name, []
    for method, told, run in runs:
        draws = natural(known.problem.model, run.draws)
        if draws.isfinite().all() and float(draws[..., -1].max()) < 100 * float(known.draws[..., -1].max()):
            found.append(line(name, method, score(Run(draws, run.passes), known.draws), told=told, run=run))
        else:  # too long a step for so few data: log σ runs away
            left = f"diverged ({run.left} of {CHAINS})"
            found.append(f"| {name} | {method} | {told} | {left} |" + " |" * (len(COLUMNS) - 4))
        print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder that holds posteriordb/")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="posteriors whose name holds this")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    folder = arguments.data_dir / "posteriordb"
    if not folder.is_dir():
        parser.error(f"no folder {folder}; pass --data-dir with a posteriordb/ in it")
    torch.set_num_threads(arguments.threads)
    lines = [machine(), "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    print("\n".join(lines), flush=True)
    for known in regressions(folder):
        if arguments.only in known.problem.name:
            lines += rows(known)
    if arguments.only in "eight_schools":
        lines.append(schools(folder))
        print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join([*lines, "", NOTE]) + "\n")


if __name__ == "__main__":
    main()
