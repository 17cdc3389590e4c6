"""Simulation-based calibration of every sampler: `python benchmarks/sbc.py [--simulations 1000] [--out DIR]`.

If θ̃ is drawn from the prior, data from the model at θ̃, and θ₁ … θ_L from the posterior given those data, then the
rank of θ̃ among the θᵢ is uniform on 0 … L (Talts, Betancourt, Simpson, Vehtari & Gelman 2018, theorem 1), whatever the
model. Draws that are too narrow give a rank histogram like ∪, too wide ones like ∩, and a bias a slope.

The model is a conjugate regression in three dimensions with N = 100 (`sbc_samplers`), of which every simulation has its
own data; all simulations run at once, a chain each, and NUTS one after the other. Ranks are among L = 63 draws far
enough apart to be nearly independent. Reported: χ² of the ranks in 16 bins, per coefficient, its smallest p-value over
the three (times three: Bonferroni), and how often the central 90 % interval of the exact quantiles of the draws holds
θ̃.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sbc_samplers import DRAWS, by_nuts, run, samplers, simulate
from scipy.stats import binom, chi2
from timing import machine
from torch import Tensor

from metrics import files
from metrics.plots import COLOURS

BINS = 16
NOTE = f"""Ranks among {DRAWS} draws; χ² in {BINS} bins, the smallest p-value of three coefficients times three. ± is
one standard error of three ranks per simulation. All samplers but NUTS see the same simulations, so that their
p-values rise and fall together."""


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
    p = float(chi2.sf(statistics.numpy(), BINS - 1).min()) * truth.shape[1]
    # θ̃ and L draws are exchangeable: the ranks 3 … 60 of 0 … 63 have 58/64, the ends of them are split evenly.
    inside = (ranks >= 3) & (ranks <= DRAWS - 3)
    edge = (ranks == 3) | (ranks == DRAWS - 3)
    share = (0.9 - (DRAWS + 1 - 8) / (DRAWS + 1)) / (2 / (DRAWS + 1))
    coverage = (inside.double() - edge.double() * (1 - share)).mean()
    return Verdict(name, ranks, min(1.0, p), float(coverage))


def draw(verdicts: list[Verdict]) -> Figure:
    """One rank histogram per sampler, all coefficients together, with the band that uniform ranks stay in."""
    columns = 3
    rows = -(-len(verdicts) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.3 * rows), layout="constrained")
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
        p = f"p = {verdict.p_value:.2f}" if verdict.p_value >= 0.01 else "p < .01"
        title = f"{verdict.name}, {len(verdict.ranks)} simulations\n{p}, 90 % covers {100 * verdict.coverage:.1f} %"
        ax.set_title(title, fontsize=9)
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
        files.write_text(arguments.out / "sbc.md", "\n".join([*lines, "", NOTE]) + "\n")
        draw(verdicts).savefig(arguments.out / "sbc.png", dpi=110)


if __name__ == "__main__":
    main()
