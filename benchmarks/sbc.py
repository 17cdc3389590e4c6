"""Simulation-based calibration of every sampler: `python benchmarks/sbc.py [--simulations 1000] [--out DIR]`.

If θ̃ is drawn from the prior, data from the model at θ̃, and θ₁ … θ_L from the posterior given those data, then the
rank of θ̃ among the θᵢ is uniform on 0 … L (Talts, Betancourt, Simpson, Vehtari & Gelman 2018, theorem 1), whatever the
model. Draws that are too narrow give a rank histogram like ∪, too wide ones like ∩, and a bias a slope.

The model is a conjugate regression, y ~ N(xβ, σ²) with β ~ N(0, 1) in three dimensions, N = 100, of which every
simulation has its own data; all simulations run at once, a chain each. Ranks are among L = 63 draws far enough apart to
be nearly independent. Reported: χ² of the ranks in 16 bins, per coefficient, its smallest p-value over the three
(times three: Bonferroni), and how often the central 90 % interval of the exact quantiles of the draws holds θ̃.
"""

import argparse
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# A script's own folder comes first on the path, where `bayessgd.py` would hide the package: to the end.
sys.path.sort(key=lambda entry: Path(entry or ".").resolve() == Path(__file__).resolve().parent)

import torch
from matplotlib.figure import Figure
from scipy.stats import binom, chi2
from timing import machine
from torch import Tensor, nn
from tqdm import tqdm

from bayessgd import Chains, IterateAverage, reference, theory
from bayessgd.likelihoods import Gaussian, mean_negative_log_joint
from bayessgd.optim import SGHMC, SGLD, PreconditionedSGD, PreconditionedSGLD
from bayessgd.priors import GaussianPrior
from metrics import files
from metrics.plots import COLOURS

N, D, SIGMA, DRAWS, BINS = 100, 3, 1.0, 63, 16
Make = Callable[[Chains, int], torch.optim.Optimizer]


@dataclass(frozen=True)
class Simulations:
    """θ̃ [sims, D], data [sims, N, D] and [sims, N, 1], and each one's A and C at its own posterior."""

    truth: Tensor
    x: Tensor
    y: Tensor
    A: Tensor
    C: Tensor

    @property
    def model(self) -> nn.Linear:
        """The regression that all chains have."""
        return nn.Linear(D, 1, bias=False).double()


def simulate(count: int, seed: int) -> Simulations:
    random = torch.Generator().manual_seed(seed)
    truth = torch.randn(count, D, generator=random, dtype=torch.float64)
    scales = torch.tensor([1.0, 0.5, 1.5], dtype=torch.float64)
    x = scales * torch.randn(count, N, D, generator=random, dtype=torch.float64)
    noise = SIGMA * torch.randn(count, N, 1, generator=random, dtype=torch.float64)
    y = x @ truth[..., None] + noise
    curvatures, noises = [], []
    for own, target in zip(x, y[..., 0], strict=True):
        problem = theory.LinearRegression(own, target, noise_precision=SIGMA**-2, prior_precision=1.0)
        A = problem.curvature
        curvatures.append(A)
        noises.append(problem.noise(torch.linalg.inv(A) / N))
    return Simulations(truth, x, y, torch.stack(curvatures), torch.stack(noises))


@dataclass(frozen=True)
class Sampler:
    """A sampler: its optimizer, the batch, the steps between draws, T where draws are means of windows."""

    name: str
    make: Make
    batch: int
    thin: int
    window: int | None = None


def samplers(data: Simulations) -> list[Sampler]:
    S = 10

    def exact(chains: Chains, seed: int) -> torch.optim.Optimizer:
        H = torch.stack(
            [
                theory.optimal_preconditioner(C, num_data=N, batch_size=S, A=A)
                for A, C in zip(data.A, data.C, strict=True)
            ]
        )
        return PreconditionedSGD(chains.parameters(), preconditioner=H, stacked=True)

    def corrected(chains: Chains, seed: int) -> torch.optim.Optimizer:
        H = 0.05 * torch.linalg.inv(data.A)
        Q = [
            theory.injected_noise(A, C, preconditioner=h, num_data=N, batch_size=S)
            for A, C, h in zip(data.A, data.C, H, strict=True)
        ]
        return PreconditionedSGD(
            chains.parameters(),
            preconditioner=H,
            noise_covariance=torch.stack(Q),
            stacked=True,
            generator=torch.Generator().manual_seed(seed),
        )

    def window(rate: float) -> int:
        """Return the T at which the means of windows have the posterior's spread, exactly, on the first data."""
        A, x, y = data.A[0], data.x[0], data.y[0, :, 0]
        problem = theory.LinearRegression(x, y, noise_precision=SIGMA**-2, prior_precision=1.0)
        H = rate * torch.linalg.inv(A)
        C = problem.noise(problem.stationary_covariance(preconditioner=H, batch_size=S))
        found = [
            theory.iterate_average_covariance(A, C, num_iterates=T, batch_size=S, preconditioner=H)
            for T in range(2, 4 * N // S)
        ]
        errors = [abs(float((N * A @ cov).trace()) / D - 1) for cov in found]
        return 2 + errors.index(min(errors))

    def newton(rate: float, chains: Chains, seed: int) -> torch.optim.Optimizer:
        return PreconditionedSGD(
            chains.parameters(), preconditioner=rate * torch.linalg.inv(data.A), stacked=True
        )

    def of(kind: Callable, chains: Chains, seed: int, **options: float) -> torch.optim.Optimizer:
        return kind(chains.parameters(), num_data=N, generator=torch.Generator().manual_seed(seed), **options)

    return [
        Sampler("SGD, exact preconditioner", exact, S, 40),
        Sampler("corrected", corrected, S, 60),
        Sampler(f"IASG, T = {window(0.4)}", partial(newton, 0.4), S, window(0.4), window=window(0.4)),
        Sampler("SGLD", partial(of, SGLD, lr=0.03), 50, 200),
        Sampler("preconditioned SGLD", partial(of, PreconditionedSGLD, lr=4e-3, decay=0.999), 50, 200),
        Sampler("SGHMC", partial(of, SGHMC, lr=4e-3, momentum=0.9), 50, 150),
        Sampler("SGLD, too long a step", partial(of, SGLD, lr=0.3), 5, 30),
    ]


def run(data: Simulations, sampler: Sampler, seed: int) -> Tensor:
    """Return draws [sims, DRAWS, D]."""
    random = torch.Generator().manual_seed(seed)
    chains = Chains(data.model, len(data.truth), jitter=0.0)
    (weight,) = chains.parameters()
    optimizer = sampler.make(chains, seed + 1)
    loss = partial(mean_negative_log_joint, likelihood=Gaussian(SIGMA), prior=GaussianPrior(1.0), num_data=N)
    average = IterateAverage(chains, window=sampler.window) if sampler.window else None
    each, kept = torch.arange(len(data.truth))[:, None], []
    burn_in = 20 * sampler.thin
    if average is not None:
        average.attach(optimizer, start=burn_in)
    steps = burn_in + DRAWS * sampler.thin
    for step in tqdm(range(steps), desc=sampler.name, leave=False, disable=None):
        pick = torch.randint(N, (len(data.truth), sampler.batch), generator=random)
        optimizer.zero_grad()
        chains.map(loss, data.x[each, pick], data.y[each, pick]).sum().backward()
        optimizer.step()
        if average is None and step >= burn_in and (step - burn_in + 1) % sampler.thin == 0:
            kept.append(weight.detach()[:, 0].clone())
    if average is not None:
        return average.posterior().draws["weight"][:, :, 0].transpose(0, 1)
    return torch.stack(kept, 1)


def by_nuts(data: Simulations, seed: int) -> Tensor:
    draws = []
    for i in tqdm(range(len(data.truth)), desc="NUTS", leave=False, disable=None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = reference.nuts(
                data.model,
                data.x[i],
                data.y[i],
                likelihood=Gaussian(SIGMA),
                prior=GaussianPrior(1.0),
                num_samples=2 * DRAWS,
                num_warmup=100,
                num_chains=1,
                seed=seed + i,
                progress=False,
            )
        draws.append(found.draws["weight"][1::2, 0])
    return torch.stack(draws)


@dataclass(frozen=True)
class Verdict:
    """Ranks [sims, D], and what the tests say of them."""

    name: str
    ranks: Tensor
    p_value: float
    coverage: float

    def markdown(self) -> str:
        """Return a row of the table."""
        stderr = math.sqrt(self.coverage * (1 - self.coverage) / self.ranks.numel())
        return (
            f"| {self.name} | {len(self.ranks)} | {self.p_value:.3f} | {self.coverage:.3f} ± {stderr:.3f} |"
        )


def judge(name: str, truth: Tensor, draws: Tensor) -> Verdict:
    """Test the ranks of the truth [sims, D] among draws [sims, L, D]."""
    ranks = (draws < truth[:, None]).sum(1)
    bins = (ranks * BINS) // (DRAWS + 1)
    counts = torch.stack([torch.bincount(column, minlength=BINS) for column in bins.T]).double()
    expected = len(ranks) / BINS
    statistics = (counts - expected).square().sum(1) / expected
    p = float(chi2.sf(statistics.numpy(), BINS - 1).min()) * D
    # θ̃ and L draws are exchangeable: the ranks 3 … 60 of 0 … 63 have 58/64, the ends of them are split evenly.
    inside = (ranks >= 3) & (ranks <= DRAWS - 3)
    edge = (ranks == 3) | (ranks == DRAWS - 3)
    share = (0.9 - (DRAWS + 1 - 8) / (DRAWS + 1)) / (2 / (DRAWS + 1))
    coverage = (inside.double() - edge.double() * (1 - share)).mean()
    return Verdict(name, ranks, min(1.0, p), float(coverage))


def draw(verdicts: list[Verdict]) -> Figure:
    """One rank histogram per sampler, all coefficients together, with the band that uniform ranks stay in."""
    columns = 4
    rows = -(-len(verdicts) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(verdicts) :]:
        ax.set_visible(False)
    for ax, verdict in zip(axes.flat, verdicts, strict=False):
        total = verdict.ranks.numel()
        low, high = binom.interval(0.95, total, 1 / BINS)
        ax.axhspan(low / total * BINS, high / total * BINS, color="0.85", label="95 % of a bin, if uniform")
        ax.axhline(1, color="0.4", lw=0.8)
        counts, edges = torch.histogram(verdict.ranks.flatten().double(), BINS, range=(0, DRAWS + 1))
        ax.stairs((counts * BINS / total).numpy(), edges.numpy(), color=COLOURS[0], lw=1.6)
        ax.set_title(
            f"{verdict.name}\np = {verdict.p_value:.2g}, 90 % covers {verdict.coverage:.1%}", fontsize=9
        )
        ax.set_ylim(0, 2.5)
    for ax in axes[-1]:
        ax.set_xlabel(f"rank of the truth among {DRAWS} draws")
    for ax in axes[:, 0]:
        ax.set_ylabel("density of ranks")
    axes[0, 0].legend(fontsize=8, loc="upper left", frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--nuts", type=int, default=500, help="simulations for NUTS, the slowest; 0 for none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write sbc.md and sbc.png to this folder")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = simulate(arguments.simulations, arguments.seed)
    lines = [
        machine(),
        "",
        "| sampler | simulations | p-value of uniform ranks | 90 % interval covers |",
        "|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    verdicts = []
    for sampler in samplers(data):
        verdicts.append(judge(sampler.name, data.truth, run(data, sampler, arguments.seed + 10)))
        lines.append(verdicts[-1].markdown())
        print(lines[-1], flush=True)
    if arguments.nuts:
        some = simulate(arguments.nuts, arguments.seed + 1)
        verdicts.append(judge("NUTS", some.truth, by_nuts(some, arguments.seed)))
        lines.append(verdicts[-1].markdown())
        print(lines[-1], flush=True)
    if arguments.out:
        files.write_text(arguments.out / "sbc.md", "\n".join(lines) + "\n")
        draw(verdicts).savefig(arguments.out / "sbc.png", dpi=110)


if __name__ == "__main__":
    main()
