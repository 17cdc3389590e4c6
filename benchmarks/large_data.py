"""What a posterior of many data costs: `python benchmarks/large_data.py --data-dir DIR [--out FILE]`.

Skin (logistic regression, N = 245 057) and Protein (linear regression with its noise inferred, N = 45 730), features
standardised, prior N(0, 1) for every parameter. SGD with the exact preconditioner, the corrected sampler and iterate
averaging (IASG) on batches of 500, and NUTS on all data with a dense mass matrix, from the same optimum. The truth that
all are held against is NUTS in whitened coordinates with five times the draws. The cost of an effective draw counts
gradients of single data, warm-up and burn-in included, over N; A and C cost some passes more, once.
"""

import argparse
import gzip
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# A script's own folder comes first on the path, where `bayessgd.py` would hide the package: to the end.
sys.path.sort(key=lambda entry: Path(entry or ".").resolve() == Path(__file__).resolve().parent)

import numpy as np
import torch
from timing import machine
from torch import Tensor, nn
from torch.func import hessian
from tqdm import tqdm

from bayessgd import Chains, IterateAverage, Subspace, noise, reference, subspace_nuts, theory
from bayessgd.likelihoods import Bernoulli, GaussianLogScale, LearnedScale, mean_negative_log_joint
from bayessgd.optim import PreconditionedSGD
from bayessgd.params import flatten, named_parameters, unflatten
from bayessgd.priors import GaussianPrior
from metrics.chains import effective_sample_size

CHAINS, BATCH = 25, 500


@dataclass(frozen=True)
class Problem:
    """A generalised linear model at its optimum, with its curvature and gradient noise."""

    name: str
    model: nn.Module
    x: Tensor
    y: Tensor
    likelihood: Bernoulli | GaussianLogScale
    A: Tensor
    C: Tensor

    @property
    def laws(self) -> dict:
        """Likelihood, prior and number of data, as keywords."""
        return {"likelihood": self.likelihood, "prior": GaussianPrior(1.0)}

    @property
    def like(self) -> dict[str, Tensor]:
        """The optimum by name."""
        return {name: p.detach() for name, p in named_parameters(self.model).items()}


def read(folder: Path) -> list[tuple[str, Tensor, Tensor]]:
    with gzip.open(folder / "skin" / "Skin_NonSkin.txt.gz") as file:
        skin = np.loadtxt(file)
    with gzip.open(folder / "protein" / "CASP.csv.gz") as file:
        protein = np.loadtxt(file, delimiter=",", skiprows=1)
    found = []
    for name, x, y in (
        ("skin", skin[:, :3], (skin[:, 3] == 1).astype(float)),
        ("protein", protein[:, 1:], (protein[:, 0] - protein[:, 0].mean()) / protein[:, 0].std()),
    ):
        x = np.column_stack([np.ones(len(x)), (x - x.mean(0)) / x.std(0)])
        found.append((name, torch.as_tensor(x), torch.as_tensor(y)[:, None]))
    return found


def problem(name: str, x: Tensor, y: Tensor) -> Problem:
    """Go to the optimum by Newton's method."""
    line = nn.Linear(x.shape[1], 1, bias=False).double()
    nn.init.zeros_(line.weight)
    model = line if name == "skin" else LearnedScale(line)
    likelihood = Bernoulli() if name == "skin" else GaussianLogScale()
    like = {key: p.detach() for key, p in named_parameters(model).items()}

    def loss(flat: Tensor) -> Tensor:
        laws = {"likelihood": likelihood, "prior": GaussianPrior(1.0), "num_data": len(x)}
        return mean_negative_log_joint(model, unflatten(flat, like), x, y, **laws)

    theta = flatten(like)
    for _ in range(30):
        theta = theta - torch.linalg.solve(hessian(loss)(theta), torch.func.grad(loss)(theta))
    with torch.no_grad():
        for key, value in unflatten(theta, like).items():
            dict(model.named_parameters())[key].copy_(value)
    datum = partial(_datum, likelihood)
    C = noise.gradient_noise(model, datum, x, y, correction=0, chunk_size=2**14).covariance
    return Problem(name, model, x, y, likelihood, hessian(loss)(theta), C)


def _datum(likelihood: Bernoulli | GaussianLogScale, output: Tensor, y: Tensor) -> Tensor:
    return -likelihood.log_prob(output, y)


@dataclass(frozen=True)
class Sampler:
    """H, Q, the steps between draws and the draws of each chain; T where draws are means."""

    name: str
    H: Tensor
    Q: Tensor | None
    thin: int
    draws: int
    window: int | None = None


def samplers(at: Problem) -> list[Sampler]:
    n, S = len(at.x), BATCH
    inverse = torch.linalg.inv(at.A)
    feasible = 2 / float(torch.linalg.eigvals(inverse @ (at.A + n / S * at.C)).real.max())
    T = round(n / S)
    exact = theory.optimal_preconditioner(at.C, num_data=n, batch_size=S, A=at.A)
    H = 0.5 * feasible * inverse
    Q = theory.injected_noise(at.A, at.C, preconditioner=H, num_data=n, batch_size=S)
    return [
        Sampler("SGD exact", exact, None, max(1, T // 4), 120),
        Sampler("corrected", H, Q, max(1, T // 4), 120),
        Sampler("IASG", 0.2 * inverse, None, T, 30, window=T),
    ]


def sample(at: Problem, sampler: Sampler) -> tuple[Tensor, float]:
    """Return draws [chains, draws, P] and gradients of single data spent."""
    n, random = len(at.x), torch.Generator().manual_seed(0)
    chains = Chains(at.model, CHAINS, jitter=0.0)
    optimizer = PreconditionedSGD(
        chains.parameters(),
        preconditioner=sampler.H,
        noise_covariance=sampler.Q,
        stacked=True,
        generator=torch.Generator().manual_seed(1),
    )
    loss = partial(mean_negative_log_joint, **at.laws, num_data=n)
    # From the optimum the law is reached within some relaxation times, N/S steps each.
    burn_in = 4 * round(n / BATCH)
    average = IterateAverage(chains, window=sampler.window) if sampler.window else None
    if average is not None:
        average.attach(optimizer, start=burn_in)
    kept, steps = [], burn_in + sampler.draws * sampler.thin
    for step in tqdm(range(steps), desc=f"{at.name}, {sampler.name}", leave=False, disable=None):
        pick = torch.randint(n, (CHAINS, BATCH), generator=random)
        optimizer.zero_grad()
        chains.map(loss, at.x[pick], at.y[pick]).sum().backward()
        optimizer.step()
        if average is None and step >= burn_in and (step - burn_in + 1) % sampler.thin == 0:
            kept.append(flatten(dict(chains.named_parameters()), at.like).detach().clone())
    if average is not None:
        windows = average.posterior().draws
        draws = torch.cat([windows[name].flatten(2) for name in windows], 2).transpose(0, 1)
    else:
        draws = torch.stack(kept, 1)
    return draws, float(steps * BATCH * CHAINS)


def by_nuts(at: Problem, run: Callable, **options: object) -> tuple[Tensor, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = run(at.model, x=at.x, y=at.y, **at.laws, num_chains=2, **options)
    draws = flatten(found.draws, at.like).unflatten(0, (2, -1))
    return draws, float(found.origin["gradient_evaluations"]) * len(at.x)


def row(at: Problem, name: str, draws: Tensor, cost: float, known: Tensor) -> str:
    flat, truth = draws.flatten(0, 1), known.flatten(0, 1)
    std = truth.std(0)
    shift, ratio = (flat.mean(0) - truth.mean(0)) / std, flat.std(0) / std
    ess = float(effective_sample_size(draws).min())
    return (
        f"| {at.name} | {name} | {float(shift.abs().max()):.3f} | {float(ratio.min()):.3f} – {float(ratio.max()):.3f} "
        f"| {ess:,.0f} | {cost / len(at.x):,.0f} | {cost / len(at.x) / ess:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="the folder that holds skin/ and protein/"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="skin or protein")
    parser.add_argument(
        "--draws",
        type=int,
        default=200,
        help="of each of NUTS's two chains; the truth has five times as many",
    )
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    if not (arguments.data_dir / "skin").is_dir():
        parser.error(
            f"no folder {arguments.data_dir / 'skin'}; pass --data-dir with skin/ and protein/ in it"
        )
    torch.set_num_threads(arguments.threads)
    lines = [
        f"{machine()}. A and C, once: about 2·P passes.",
        "",
        "| data | sampler | worst Δmean / sd | sd ratios | effective draws | passes | passes per effective draw |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for name, x, y in read(arguments.data_dir):
        if arguments.only not in name:
            continue
        at = problem(name, x, y)
        basis = torch.linalg.cholesky(torch.linalg.inv(len(x) * at.A)).mT
        space = Subspace(at.like, basis, torch.ones_like(basis[0]))

        def whitened(model: nn.Module, x: Tensor, y: Tensor, space: Subspace = space, **options):
            return subspace_nuts(model, space, x, y, **options)

        known, cost = by_nuts(at, whitened, num_samples=5 * arguments.draws, progress=True)
        rows = [(f"NUTS, whitened (the truth), {2 * 5 * arguments.draws} draws", known, cost)]
        plain = {
            "num_samples": arguments.draws,
            "jitter": 0.0,
            "dense_mass": True,
            "seed": 1,
            "progress": True,
        }
        rows.append(("NUTS, dense mass", *by_nuts(at, reference.nuts, **plain)))
        rows += [(sampler.name, *sample(at, sampler)) for sampler in samplers(at)]
        for told, draws, spent in rows:
            lines.append(row(at, told, draws, spent, known))
            print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
