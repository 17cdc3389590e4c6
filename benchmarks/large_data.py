"""What a posterior of many data costs: `python benchmarks/large_data.py --data-dir DIR [--out FILE]`.

Skin (logistic regression, N = 245 057) and Protein (linear regression with its noise inferred, N = 45 730), features
standardised, prior N(0, 1) for every parameter, against the exact moments (`large_data_problems`). From θ* start

    NUTS, diagonal mass     as it comes: all data, as many warm-up draws as are kept
    NUTS, dense mass        the same with a full mass matrix to adapt
    NUTS, whitened          told the curvature A, in whose coordinates the posterior is round
    SGD exact               H = 2(A + NC/S)⁻¹, nothing injected
    corrected               half of that H, and the noise Q that is then missing
    IASG                    means of T = N/S iterates
    control variate         batches whose noise vanishes at θ* (`noise.control_variate`), H = A⁻¹/4, and Q

The cost is gradients of single data over N: warm-up and burn-in included, and where a sampler is told A, C or θ*
(NUTS as it comes is not charged for θ*), the passes that those took.

What to expect. The noise of N data is that of one draw: A⁻¹CA⁻¹/N is the covariance of the mean of N gradients, so that
samplers whose only noise is the batches' (exact SGD, IASG) cost one pass per draw at C = A, and λ_max(A⁻¹C) passes in
the worst direction, at any S. Injected noise cannot replace it, for the batches' noise is there all the same and bounds
the step: corrected samplers are dearer. NUTS in perfect coordinates takes about four gradients a draw. Only a gradient
of less noise goes below a pass per draw.
"""

import argparse
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from agreement import Moments, compare, moments
from large_data_problems import exact, problems
from sampling import Optimum, Run, by_chain, iterates, optimum, whitened_nuts
from timing import machine
from torch import Tensor

from bayessgd import reference, samplers
from bayessgd.samplers import Sampler

CHAINS = 25
COLUMNS = [
    "data",
    "sampler",
    "draws (effective: mean, sd)",
    "worst Δmean / sd",
    "worst sd ratio",
    "passes",
    "per effective draw: mean, sd",
    "NUTS diagonal / dense / whitened over this: mean",
    "sd",
]
NOTE = f"""± is one standard error of the draws; the truth has none (quadrature, 1e-6 sd). The worst of the parameters
(Skin 4, Protein 11) is told. Effective draws: the smallest over the parameters, of θ and of (θ − mean)². Passes:
gradients of single data over N, with warm-up or burn-in, and with Newton's method, A and C where they are needed.
NUTS ran 2 chains, the others {CHAINS}. Costs per effective draw are known to some 10 %, NUTS's with few draws to 20
%."""


@dataclass(frozen=True)
class Effort:
    """The batch of plain gradients; draws of each chain of theirs, of NUTS, and of NUTS in whitened coordinates."""

    batch: int
    draws: int
    nuts: int
    whitened: int


EFFORTS = {"skin": Effort(2000, 120, 200, 400), "protein": Effort(1000, 600, 400, 1000)}


def plain(at: Optimum, effort: Effort) -> list[tuple[Sampler, int]]:
    """Those of plain batches and their draws; a draw every quarter of N/S steps, the relaxation time at C = A."""
    S, draws = effort.batch, effort.draws
    T = round(len(at.problem) / S)
    made = (samplers.exact_sgd(at.found, batch_size=S), samplers.corrected(at.found, batch_size=S))
    return [
        *((replace(one, thin=T // 4, burn_in=4 * T), draws) for one in made),
        (samplers.iterate_averaging(at.found, batch_size=S), draws // 4),
    ]


def by_control_variate(at: Optimum, *, draws: int = 400) -> Run:
    return iterates(at, samplers.control_variate(at.found), draws=draws, num_chains=CHAINS)


def plain_nuts(at: Optimum, draws: int, *, dense: bool) -> Run:
    problem = at.problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short chains are told of by their errors
        found = reference.nuts(
            problem.model,
            problem.x,
            problem.y,
            likelihood=problem.likelihood,
            prior=problem.prior,
            num_samples=draws,
            num_chains=2,
            jitter=0.0,
            dense_mass=dense,
            seed=1,
        )
    return by_chain(found, problem.like)


def charged(run: Run, at: Optimum) -> Run:
    """Add what the optimum, A and C took."""
    return Run(run.draws, run.passes + at.passes)


def runs(at: Optimum, effort: Effort) -> dict[str, Run]:
    """Sample by all; NUTS first, for the others' ratios."""
    found = {
        "NUTS, diagonal mass": plain_nuts(at, effort.nuts, dense=False),
        "NUTS, dense mass": plain_nuts(at, effort.nuts, dense=True),
        "NUTS, whitened": charged(whitened_nuts(at, num_samples=effort.whitened), at),
    }
    for sampler, draws in plain(at, effort):
        found[sampler.name] = charged(iterates(at, sampler, draws=draws, num_chains=CHAINS), at)
    return found | {"control variate": charged(by_control_variate(at), at)}


def rows(at: Optimum, found: dict[str, Run]) -> list[str]:
    """A row for Laplace's approximation, then one for each run."""
    truth = exact(at)
    laplace = compare(Moments.exact(centre(at), at.root.square().sum(1).sqrt()), truth)
    cells = ["exact", laplace.worst_shift(), laplace.worst_ratio(), f"{at.passes}", "", "", ""]
    lines = [f"| {at.problem.name} | Laplace's approximation | {' | '.join(cells)} |"]
    costs = []
    for name, run in found.items():
        had = moments(run.draws)
        agreement, cost = compare(had, truth), [run.passes / n for n in had.effective]
        if is_nuts := name.startswith("NUTS"):
            costs.append(cost)
        times = [" / ".join(f"{nuts[k] / cost[k]:.3g}" for nuts in costs) for k in (0, 1)]
        cells = [
            f"{run.draws.shape[0] * run.draws.shape[1]:,} ({had.effective[0]:,.0f}, {had.effective[1]:,.0f})",
            agreement.worst_shift(),
            agreement.worst_ratio(),
            f"{run.passes:,.0f}",
            f"{cost[0]:.3g}, {cost[1]:.3g}",
            *(["", ""] if is_nuts else times),
        ]
        lines.append(f"| {at.problem.name} | {name} | {' | '.join(cells)} |")
    return lines


def centre(at: Optimum) -> Tensor:
    return torch.cat([t.flatten() for t in at.problem.like.values()])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="the folder that holds skin/ and protein/"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="skin or protein")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    folder = arguments.data_dir
    if not (folder / "skin").is_dir() or not (folder / "protein").is_dir():
        parser.error(f"no skin/ and protein/ in {folder}; pass --data-dir with both in it")
    torch.set_num_threads(arguments.threads)
    lines = [machine(), "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    print("\n".join(lines), flush=True)
    for problem in problems(folder):
        if arguments.only in problem.name:
            at = optimum(problem, chunk_size=2**14)
            lines += (found := rows(at, runs(at, EFFORTS[problem.name])))
            print("\n".join(found), flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join([*lines, "", NOTE]) + "\n")


if __name__ == "__main__":
    main()
