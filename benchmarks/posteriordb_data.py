"""posteriordb's regressions, its eight schools, and the reference draws of both.

A regression's θ is (β, log σ); its reference draws are (β, σ), ten chains of a thousand, thinned until they are nearly
independent (Magnusson et al. 2024, "posteriordb: testing, benchmarking and developing Bayesian inference algorithms").
"""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from sampling import Problem
from torch import Tensor, nn
from torch.distributions import Cauchy, HalfCauchy, Normal

from bayessgd.likelihoods import Gaussian, GaussianLogScale, LearnedScale
from bayessgd.params import named_parameters, unflatten
from bayessgd.theory import LearnedScaleRegression

__all__ = ["Known", "RegressionPrior", "eight_schools", "natural", "regressions", "schools_draws"]


@dataclass(frozen=True)
class Known:
    """A problem and its reference draws [chains, draws, parameters]."""

    problem: Problem
    draws: Tensor = field(repr=False)
    regression: LearnedScaleRegression | None = field(default=None, repr=False)


@dataclass(frozen=True)
class RegressionPrior:
    """Independent normals for the coefficients, and a law of σ, of which θ holds the logarithm.

    log p(log σ) = log p(σ) + log σ: the Jacobian of the change of scale.
    """

    sigma: Callable[[Tensor], Tensor]
    normals: tuple[tuple[float, float], ...] = ()

    def log_prob(self, params: Mapping[str, Tensor]) -> Tensor:
        """Return log p(θ)."""
        log_scale = params["log_scale"][0]
        value = self.sigma(log_scale.exp()) + log_scale
        if self.normals:
            mean, std = torch.tensor(self.normals, dtype=log_scale.dtype).unbind(1)
            value = value + Normal(mean, std, validate_args=False).log_prob(params["model.weight"][0]).sum()
        return value


def flat_sigma(sigma: Tensor) -> Tensor:
    return 0 * sigma


def half_cauchy(sigma: Tensor, *, scale: float) -> Tensor:
    # A scale of σ's own type: a number would make torch round σ to float32.
    return HalfCauchy(sigma.new_tensor(scale), validate_args=False).log_prob(sigma)


def half_normal(sigma: Tensor, *, scale: float) -> Tensor:
    return Normal(0.0, scale, validate_args=False).log_prob(sigma)


def read(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(archive.namelist()[0]))


def regressions(folder: Path) -> list[Known]:
    """Read all eleven, each model at least squares."""
    kid, mesquite, earnings = (vectors(folder, name) for name in ("kidiq", "mesquite", "earnings"))
    kid_prior, flat = RegressionPrior(partial(half_cauchy, scale=2.5)), RegressionPrior(flat_sigma)
    hs, iq, score = kid["mom_hs"], kid["mom_iq"], kid["kid_score"]
    volume = (mesquite["diam1"] * mesquite["diam2"] * mesquite["canopy_height"]).log()
    shrub = [mesquite[k] for k in ("diam1", "diam2", "canopy_height", "total_height", "density", "group")]
    height, male = earnings["height"], earnings["male"]
    found = [
        ("kidiq-kidscore_momiq", [iq], score, kid_prior),
        ("kidiq-kidscore_momhs", [hs], score, kid_prior),
        ("kidiq-kidscore_momhsiq", [hs, iq], score, kid_prior),
        ("kidiq-kidscore_interaction", [hs, iq, hs * iq], score, kid_prior),
        ("mesquite-mesquite", shrub, mesquite["weight"], flat),
        ("mesquite-logmesquite_logvolume", [volume], mesquite["weight"].log(), flat),
        ("earnings-earn_height", [height], earnings["earn"], flat),
        ("earnings-logearn_interaction", [height, male, height * male], earnings["earn"].log(), flat),
    ]
    every = [known(folder, name, [torch.ones_like(y), *columns], y, law) for name, columns, y, law in found]
    return [*every, *synthetic(folder), kilpisjarvi(folder)]


def vectors(folder: Path, name: str) -> dict[str, Tensor]:
    data = read(folder / f"{name}.data.json.zip")
    return {
        key: torch.tensor(value, dtype=torch.float64)
        for key, value in data.items()
        if isinstance(value, list)
    }


def synthetic(folder: Path) -> list[Known]:
    every = []
    for name in ("sblrc", "sblri"):
        data = vectors(folder, name)
        law = RegressionPrior(partial(half_normal, scale=10.0), ((0.0, 10.0),) * data["X"].shape[1])
        every.append(known(folder, f"{name}-blr", data["X"].unbind(1), data["y"], law))
    return every


def kilpisjarvi(folder: Path) -> Known:
    data, numbers = vectors(folder, "kilpisjarvi_mod"), read(folder / "kilpisjarvi_mod.data.json.zip")
    normals = ((numbers["pmualpha"], numbers["psalpha"]), (numbers["pmubeta"], numbers["psbeta"]))
    columns = [torch.ones_like(data["x"]), data["x"]]
    law = RegressionPrior(flat_sigma, normals)
    return known(folder, "kilpisjarvi_mod-kilpisjarvi", columns, data["y"], law)


def known(folder: Path, name: str, columns: Sequence[Tensor], y: Tensor, prior: RegressionPrior) -> Known:
    chains = read(folder / f"{name}.draws.json.zip")
    draws = torch.tensor([list(chain.values()) for chain in chains], dtype=torch.float64).mT
    x = torch.stack(list(columns), 1)
    problem = Problem(name, least_squares(x, y[:, None]), x, y[:, None], GaussianLogScale(), prior)
    return Known(problem, draws, theory_of(x, y, prior))


def theory_of(x: Tensor, y: Tensor, prior: RegressionPrior) -> LearnedScaleRegression:
    """The same posterior for the theory."""
    mean, std = torch.tensor(prior.normals or [(0.0, torch.inf)] * x.shape[1], dtype=x.dtype).unbind(1)
    return LearnedScaleRegression(
        x, y, prior_mean=mean, prior_precision=std**-2, log_prior=lambda s: prior.sigma(s.exp()) + s
    )


def least_squares(x: Tensor, y: Tensor) -> LearnedScale:
    net = nn.Linear(x.shape[1], 1, bias=False).double()
    solution = torch.linalg.lstsq(x, y).solution
    net.weight.data = solution.T.clone()
    return LearnedScale(net, scale=float((y - x @ solution).square().mean().sqrt()))


def natural(model: nn.Module, flat: Tensor) -> Tensor:
    """Return coefficients and σ, in the reference's order, of θ = (β, log σ)."""
    named = unflatten(flat, named_parameters(model))
    return torch.cat([named["model.weight"].flatten(-2), named["log_scale"].exp()], -1)


class Schools(nn.Module):
    """θᵢ = μ + τ·θ̃ᵢ in units of each school's standard error; parameters μ, log τ, θ̃."""

    def __init__(self) -> None:
        super().__init__()
        self.mu, self.log_tau = (nn.Parameter(torch.zeros((), dtype=torch.float64)) for _ in range(2))
        self.raw = nn.Parameter(torch.zeros(8, dtype=torch.float64))

    def forward(self, scale: Tensor) -> Tensor:
        return (self.mu + self.log_tau.exp() * self.raw) / scale


class SchoolsPrior:
    """μ ~ N(0, 5), τ ~ half-Cauchy(5) with the Jacobian of its logarithm, θ̃ ~ N(0, 1)."""

    def log_prob(self, params: Mapping[str, Tensor]) -> Tensor:
        """Return log p(θ)."""
        tau = params["log_tau"].exp()
        return (
            Normal(0.0, 5.0, validate_args=False).log_prob(params["mu"])
            + Cauchy(0.0, 5.0, validate_args=False).log_prob(tau)
            + params["log_tau"]
            + Normal(0.0, 1.0, validate_args=False).log_prob(params["raw"]).sum()
        )

    def __repr__(self) -> str:
        return "eight schools' prior"


def eight_schools(folder: Path) -> Known:
    """Eight schools, non-centred; the reference draws are (θ, μ, τ)."""
    data = vectors(folder, "eight_schools")
    chains = read(folder / "eight_schools-eight_schools_noncentered.draws.json.zip")
    names = [f"theta[{i + 1}]" for i in range(8)] + ["mu", "tau"]
    draws = torch.tensor([[chain[key] for key in names] for chain in chains], dtype=torch.float64).mT
    law, y = SchoolsPrior(), data["y"] / data["sigma"]
    return Known(Problem("eight_schools", Schools(), data["sigma"], y, Gaussian(1.0), law), draws)


def schools_draws(draws: Mapping[str, Tensor]) -> Tensor:
    """Return (θ, μ, τ) [chains, draws, 10] of draws by name [chains, draws, ...]."""
    mu, tau = draws["mu"][..., None], draws["log_tau"].exp()[..., None]
    return torch.cat([mu + tau * draws["raw"], mu, tau], -1)
