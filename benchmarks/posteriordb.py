"""Samplers against posteriordb's reference draws: `python benchmarks/posteriordb.py --data-dir DIR [--out FILE]`.

Every regression of posteriordb's that the folder holds, its noise σ inferred too on the log scale, is sampled by

    SGD exact     PreconditionedSGD, H = 2(A + NC/S)⁻¹ at the mode, nothing injected
    corrected     H a small share of what is feasible, with the noise Q of `theory.injected_noise`
    IASG          means of T iterates, H = (4/T)A⁻¹, their covariance that of the posterior at finite T

by many chains at once, and by NUTS in whitened coordinates; eight schools by NUTS alone. Per parameter: the
difference of the means in standard deviations of the reference, and the ratio of the standard deviations. Per
posterior: the sliced W₂ to the reference, in its standard deviations, over that between the reference's own halves
(five chains against five), and how many passes over the data an effective draw costs, burn-in included.
"""

import argparse
import json
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

# A script's own folder comes first on the path, where `bayessgd.py` would hide the package: to the end.
sys.path.sort(key=lambda entry: Path(entry or ".").resolve() == Path(__file__).resolve().parent)

import torch
from timing import machine
from torch import Tensor, nn
from torch.distributions import Cauchy, HalfCauchy, Normal
from torch.func import hessian
from tqdm import tqdm

from bayessgd import Chains, IterateAverage, Subspace, noise, reference, subspace_nuts, theory
from bayessgd.likelihoods import Gaussian, GaussianLogScale, LearnedScale, mean_negative_log_joint
from bayessgd.optim import PreconditionedSGD
from bayessgd.params import flatten, named_parameters, unflatten
from metrics import sliced_wasserstein
from metrics.chains import effective_sample_size

CHAINS, DRAWS = 100, 100
NUTS_CHAINS = 2


@dataclass(frozen=True)
class Prior:
    """Independent normals for the coefficients, and a law of σ, of which θ holds the logarithm.

    log p(log σ) = log p(σ) + log σ: the Jacobian of the change of scale.
    """

    sigma: Callable[[Tensor], Tensor]
    normals: tuple[tuple[float, float], ...] = ()

    def log_prob(self, params: dict[str, Tensor]) -> Tensor:
        """Return log p(θ)."""
        log_scale = params["log_scale"][0]
        value = self.sigma(log_scale.exp()) + log_scale
        if self.normals:
            mean, std = torch.tensor(self.normals, dtype=log_scale.dtype).unbind(1)
            value = value + Normal(mean, std, validate_args=False).log_prob(params["model.weight"][0]).sum()
        return value


@dataclass(frozen=True)
class Problem:
    """A regression, its prior, and the reference's draws [chains, draws, parameters]; σ is the last one."""

    name: str
    x: Tensor
    y: Tensor
    prior: Prior
    names: list[str]
    draws: Tensor = field(repr=False)

    def model(self) -> LearnedScale:
        """The regression at least squares."""
        net = nn.Linear(self.x.shape[1], 1, bias=False).double()
        solution = torch.linalg.lstsq(self.x, self.y).solution
        net.weight.data = solution.T.clone()
        scale = float((self.y - self.x @ solution).square().mean().sqrt())
        return LearnedScale(net, scale=scale)


def flat_sigma(sigma: Tensor) -> Tensor:
    return 0 * sigma


def half_cauchy(sigma: Tensor, *, scale: float) -> Tensor:
    return HalfCauchy(scale, validate_args=False).log_prob(sigma)


def half_normal(sigma: Tensor, *, scale: float) -> Tensor:
    return Normal(0.0, scale, validate_args=False).log_prob(sigma)


def read(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(archive.namelist()[0]))


def problems(folder: Path) -> list[Problem]:
    kid, mesquite = read(folder / "kidiq.data.json.zip"), read(folder / "mesquite.data.json.zip")
    earnings, kil = read(folder / "earnings.data.json.zip"), read(folder / "kilpisjarvi_mod.data.json.zip")
    t = {
        name: torch.tensor(value, dtype=torch.float64)
        for source in (kid, mesquite, earnings)
        for name, value in source.items()
        if isinstance(value, list)
    }
    kid_prior, flat = Prior(partial(half_cauchy, scale=2.5)), Prior(flat_sigma)
    hs, iq = t["mom_hs"], t["mom_iq"]
    volume = (t["diam1"] * t["diam2"] * t["canopy_height"]).log()
    shrub = [t[k] for k in ("diam1", "diam2", "canopy_height", "total_height", "density", "group")]
    height, male = t["height"], t["male"] if "male" in t else (t["sex1"] == 1).double()
    found = [
        ("kidiq-kidscore_momiq", [iq], t["kid_score"], kid_prior),
        ("kidiq-kidscore_momhs", [hs], t["kid_score"], kid_prior),
        ("kidiq-kidscore_momhsiq", [hs, iq], t["kid_score"], kid_prior),
        ("kidiq-kidscore_interaction", [hs, iq, hs * iq], t["kid_score"], kid_prior),
        ("mesquite-mesquite", shrub, t["weight"], flat),
        ("mesquite-logmesquite_logvolume", [volume], t["weight"].log(), flat),
        ("earnings-earn_height", [height], t["earn"], flat),
        ("earnings-logearn_interaction", [height, male, height * male], t["earn"].log(), flat),
    ]
    every = [
        regression(folder, name, [torch.ones_like(y), *columns], y, prior)
        for name, columns, y, prior in found
    ]
    for name in ("sblrc", "sblri"):
        data = read(folder / f"{name}.data.json.zip")
        x = torch.tensor(data["X"], dtype=torch.float64)
        prior = Prior(partial(half_normal, scale=10.0), ((0.0, 10.0),) * x.shape[1])
        every.append(regression(folder, f"{name}-blr", x.unbind(1), torch.tensor(data["y"]).double(), prior))
    x, y = (torch.tensor(kil[k], dtype=torch.float64) for k in ("x", "y"))
    normals = ((kil["pmualpha"], kil["psalpha"]), (kil["pmubeta"], kil["psbeta"]))
    every.append(
        regression(
            folder, "kilpisjarvi_mod-kilpisjarvi", [torch.ones_like(x), x], y, Prior(flat_sigma, normals)
        )
    )
    return every


def regression(folder: Path, name: str, columns, y: Tensor, prior: Prior) -> Problem:
    chains = read(folder / f"{name}.draws.json.zip")
    names = list(chains[0])
    draws = torch.tensor([[chain[key] for key in names] for chain in chains], dtype=torch.float64).mT
    return Problem(name, torch.stack(list(columns), 1), y[:, None], prior, names, draws)


@dataclass(frozen=True)
class Mode:
    """θ*, the curvature A and the gradient noise C there, of the mean negative log joint."""

    model: LearnedScale
    A: Tensor
    C: Tensor


def mode(problem: Problem) -> Mode:
    """Newton's method from least squares."""
    model, n = problem.model(), len(problem.x)
    like = {name: p.detach() for name, p in named_parameters(model).items()}
    laws = {"likelihood": GaussianLogScale(), "prior": problem.prior, "num_data": n}

    def loss(flat: Tensor) -> Tensor:
        return mean_negative_log_joint(model, unflatten(flat, like), problem.x, problem.y, **laws)

    theta = flatten(like)
    for _ in range(50):
        step = torch.linalg.solve(hessian(loss)(theta), torch.func.grad(loss)(theta))
        theta = theta - step
    with torch.no_grad():
        for name, value in unflatten(theta, like).items():
            dict(model.named_parameters())[name].copy_(value)
    C = noise.gradient_noise(
        model, lambda out, y: -GaussianLogScale().log_prob(out, y), problem.x, problem.y, correction=0
    ).covariance
    return Mode(model, hessian(loss)(theta), C)


@dataclass(frozen=True)
class Sampler:
    """How to step, how many steps apart draws are taken, and T for IASG."""

    name: str
    batch: int
    H: Tensor
    Q: Tensor | None
    thin: int
    window: int | None = None


def samplers(at: Mode, n: int) -> list[Sampler]:
    """The three, with batches of N/10. IASG has S = κN/T, κ its finite window's share of the limit 1/(ST)."""
    S = max(2, n // 10)
    inverse = torch.linalg.inv(at.A)
    feasible = 2 / float(torch.linalg.eigvals(inverse @ (at.A + n / S * at.C)).real.max())
    H = 0.25 * feasible * inverse
    T = min(20, max(4, n // 10))
    mean = theory.iterate_average_covariance(
        at.A, at.C, num_iterates=T, batch_size=1, preconditioner=4 / T * inverse
    )
    kappa = float(
        mean.trace() / theory.iterate_average_covariance(at.A, at.C, num_iterates=T, batch_size=1).trace()
    )
    return [
        Sampler(
            "SGD exact",
            S,
            theory.optimal_preconditioner(at.C, num_data=n, batch_size=S, A=at.A),
            None,
            round(n / S),
        ),
        Sampler(
            "corrected",
            S,
            H,
            theory.injected_noise(at.A, at.C, preconditioner=H, num_data=n, batch_size=S),
            round(2 / (0.25 * feasible)),
        ),
        Sampler("IASG", round(kappa * n / T), 4 / T * inverse, None, T, window=T),
    ]


def sample(problem: Problem, at: Mode, sampler: Sampler, *, seed: int) -> tuple[Tensor, float]:
    """Return draws [chains, draws, parameters] with σ on its own scale, and per-example gradients spent."""
    n = len(problem.x)
    random = torch.Generator().manual_seed(seed)
    chains = Chains(at.model, CHAINS, jitter=0.0, seed=seed)
    optimizer = PreconditionedSGD(
        chains.parameters(),
        preconditioner=sampler.H,
        noise_covariance=sampler.Q,
        stacked=True,
        generator=torch.Generator().manual_seed(seed + 1),
    )
    loss = partial(mean_negative_log_joint, likelihood=GaussianLogScale(), prior=problem.prior, num_data=n)
    kept, burn_in = [], 20 * sampler.thin
    average = IterateAverage(chains, window=sampler.window) if sampler.window else None
    if average is not None:
        average.attach(optimizer, start=burn_in)
    steps = burn_in + DRAWS * sampler.thin
    for step in tqdm(range(steps), desc=f"{problem.name}, {sampler.name}", leave=False, disable=None):
        pick = torch.randint(n, (CHAINS, sampler.batch), generator=random)
        optimizer.zero_grad()
        chains.map(loss, problem.x[pick], problem.y[pick]).sum().backward()
        optimizer.step()
        if average is None and step >= burn_in and (step - burn_in + 1) % sampler.thin == 0:
            kept.append(flatten(dict(chains.named_parameters()), named_parameters(at.model)).detach().clone())
    if average is not None:
        # Windows of stacked chains: [windows, chains, ...] by name.
        windows = average.posterior().draws
        flat = torch.cat([windows[name].flatten(2) for name in windows], 2)
        draws = flat.transpose(0, 1)
    else:
        draws = torch.stack(kept, 1)
    return natural(at.model, draws), float(steps * sampler.batch * CHAINS)


def natural(model: LearnedScale, flat: Tensor) -> Tensor:
    """Return coefficients and σ, in the reference's order."""
    named = unflatten(flat, named_parameters(model))
    return torch.cat([named["model.weight"].flatten(-2), named["log_scale"].exp()], -1)


def by_nuts(problem: Problem, at: Mode, *, seed: int) -> tuple[Tensor, float]:
    """NUTS in the coordinates where Laplace's approximation is a standard normal: to its advantage."""
    like = {name: p.detach() for name, p in named_parameters(at.model).items()}
    basis = torch.linalg.cholesky(torch.linalg.inv(len(problem.x) * at.A)).mT
    space = Subspace(like, basis, torch.ones_like(basis[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = subspace_nuts(
            at.model,
            space,
            problem.x,
            problem.y,
            likelihood=GaussianLogScale(),
            prior=problem.prior,
            num_samples=1000,
            num_chains=NUTS_CHAINS,
            seed=seed,
            progress=False,
        )
    flat = flatten(found.draws, like).unflatten(0, (NUTS_CHAINS, -1))
    return natural(at.model, flat), float(found.origin["gradient_evaluations"]) * len(problem.x)


@dataclass(frozen=True)
class Score:
    """How near to the reference, per parameter and as a whole, and at what cost."""

    shifts: Tensor
    ratios: Tensor
    sliced: float
    floor: float
    cost: float


def score(draws: Tensor, known: Tensor, gradients: float, n: int) -> Score:
    """Compare draws [chains, draws, p] with the reference's; cost in passes over the data per effective draw."""
    flat, truth = draws.flatten(0, 1), known.flatten(0, 1)
    std = truth.std(0)
    random = torch.Generator().manual_seed(0)
    half = len(known) // 2
    halves = [known[:half].flatten(0, 1) / std, known[half:].flatten(0, 1) / std]
    some = flat[torch.randperm(len(flat), generator=random)[: len(halves[0])]] / std
    distances = [sliced_wasserstein(some, part, num_projections=256) for part in halves]
    floor = float(sliced_wasserstein(*halves, num_projections=256))
    ess = float(effective_sample_size(draws).min())
    return Score(
        (flat.mean(0) - truth.mean(0)) / std,
        flat.std(0) / std,
        float(torch.stack(distances).mean()),
        floor,
        gradients / n / ess,
    )


def schools(folder: Path) -> str:
    """Eight schools, non-centred, by NUTS: θ = (μ, log τ, θ̃)."""
    data, chains = (
        read(folder / "eight_schools.data.json.zip"),
        read(folder / "eight_schools-eight_schools_noncentered.draws.json.zip"),
    )
    y, sigma = (torch.tensor(data[k], dtype=torch.float64) for k in ("y", "sigma"))

    class Schools(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mu, self.log_tau = (nn.Parameter(torch.zeros((), dtype=torch.float64)) for _ in range(2))
            self.raw = nn.Parameter(torch.zeros(8, dtype=torch.float64))

        def forward(self, scale: Tensor) -> Tensor:
            return (self.mu + self.log_tau.exp() * self.raw) / scale

    class Law:
        def log_prob(self, params: dict[str, Tensor]) -> Tensor:
            tau = params["log_tau"].exp()
            return (
                Normal(0.0, 5.0, validate_args=False).log_prob(params["mu"])
                + Cauchy(0.0, 5.0, validate_args=False).log_prob(tau)
                + params["log_tau"]
                + Normal(0.0, 1.0, validate_args=False).log_prob(params["raw"]).sum()
            )

        def __repr__(self) -> str:
            return "eight schools' prior"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = reference.nuts(
            Schools(),
            sigma,
            y / sigma,
            likelihood=Gaussian(1.0),
            prior=Law(),
            num_samples=1000,
            progress=False,
        )
    p = found.by_chain()
    theta = p["mu"][..., None] + p["log_tau"].exp()[..., None] * p["raw"]
    draws = torch.cat([theta, p["mu"][..., None], p["log_tau"].exp()[..., None]], -1)
    names = [f"theta[{i + 1}]" for i in range(8)] + ["mu", "tau"]
    known = torch.tensor([[chain[key] for key in names] for chain in chains], dtype=torch.float64).mT
    return line(
        "eight_schools", "NUTS", score(draws, known, float(found.origin["gradient_evaluations"]) * 8, 8)
    )


def line(name: str, method: str, s: Score) -> str:
    """A row; the coefficients are all but the last parameter, which is σ."""

    def worst(t: Tensor, centre: float) -> float:
        return float(t[(t - centre).abs().argmax()])

    return (
        f"| {name} | {method} | {worst(s.shifts[:-1], 0):+.3f} | {worst(s.ratios[:-1], 1):.3f} | "
        f"{float(s.shifts[-1]):+.3f} | {float(s.ratios[-1]):.3f} | {s.sliced:.3f} | {s.sliced / s.floor:.2f} | "
        f"{s.cost:.1f} |"
    )


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
    lines = [
        machine(),
        "",
        "| posterior | sampler | coefficients: worst Δmean / sd | worst sd ratio | σ: Δmean / sd | sd ratio "
        "| sliced W₂ / sd | over the floor | passes per effective draw |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for problem in problems(folder):
        if arguments.only not in problem.name:
            continue
        at = mode(problem)
        for sampler in (*samplers(at, len(problem.x)), None):
            if sampler is None:
                name, (draws, cost) = "NUTS", by_nuts(problem, at, seed=0)
            else:
                name, (draws, cost) = sampler.name, sample(problem, at, sampler, seed=0)
            if draws.isfinite().all() and float(draws[..., -1].max()) < 100 * float(
                problem.draws[..., -1].max()
            ):
                lines.append(line(problem.name, name, score(draws, problem.draws, cost, len(problem.x))))
            else:  # too long a step for so few data: log σ runs away
                lines.append(f"| {problem.name} | {name} | diverged |  |  |  |  |  |  |")
            print(lines[-1], flush=True)
    if arguments.only in "eight_schools":
        lines.append(schools(folder))
        print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
