"""posteriordb's regressions, its eight schools, and the reference draws of both.

A regression's θ is (β, log σ); its reference draws are (β, σ), ten chains of a thousand, thinned until they are nearly
independent (Magnusson et al. 2024, "posteriordb: testing, benchmarking and developing Bayesian inference algorithms").
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from sampling import Problem
from torch import Tensor, nn
from torch.distributions import Distribution, HalfCauchy, HalfNormal, Normal

from bayessgd.likelihoods import (
    FlatPrior,
    Gaussian,
    GaussianLogScale,
    LearnedScale,
    LogScalePrior,
    NamedPriors,
)
from bayessgd.params import named_parameters, unflatten
from bayessgd.theory import LearnedScaleRegression

__all__ = ["Known", "eight_schools", "natural", "regressions", "schools_draws"]


@dataclass(frozen=True)
class Known:
    """A problem and its reference draws [chains, draws, parameters]."""

    problem: Problem
    draws: Tensor = field(repr=False)
    regression: LearnedScaleRegression | None = field(default=None, repr=False)


def read(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(archive.namelist()[0]))


def regressions(folder: Path) -> list[Known]:
    """Read all eleven, each model at least squares."""
    kid, mesquite, earnings = (vectors(folder, name) for name in ("kidiq", "mesquite", "earnings"))
    # Scales of float64: a number would make torch round σ to float32 where the theory asks for its law.
    kid_sigma = HalfCauchy(torch.tensor(2.5, dtype=torch.float64))
    hs, iq, score = kid["mom_hs"], kid["mom_iq"], kid["kid_score"]
    volume = (mesquite["diam1"] * mesquite["diam2"] * mesquite["canopy_height"]).log()
    shrub = [mesquite[k] for k in ("diam1", "diam2", "canopy_height", "total_height", "density", "group")]
    height, male = earnings["height"], earnings["male"]
    found = [
        ("kidiq-kidscore_momiq", [iq], score, kid_sigma),
        ("kidiq-kidscore_momhs", [hs], score, kid_sigma),
        ("kidiq-kidscore_momhsiq", [hs, iq], score, kid_sigma),
        ("kidiq-kidscore_interaction", [hs, iq, hs * iq], score, kid_sigma),
        ("mesquite-mesquite", shrub, mesquite["weight"], None),
        ("mesquite-logmesquite_logvolume", [volume], mesquite["weight"].log(), None),
        ("earnings-earn_height", [height], earnings["earn"], None),
        ("earnings-logearn_interaction", [height, male, height * male], earnings["earn"].log(), None),
    ]
    every = [
        known(folder, name, [torch.ones_like(y), *columns], y, sigma) for name, columns, y, sigma in found
    ]
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
        sigma, normals = (
            HalfNormal(torch.tensor(10.0, dtype=torch.float64)),
            ((0.0, 10.0),) * data["X"].shape[1],
        )
        every.append(known(folder, f"{name}-blr", data["X"].unbind(1), data["y"], sigma, normals))
    return every


def kilpisjarvi(folder: Path) -> Known:
    data, numbers = vectors(folder, "kilpisjarvi_mod"), read(folder / "kilpisjarvi_mod.data.json.zip")
    normals = ((numbers["pmualpha"], numbers["psalpha"]), (numbers["pmubeta"], numbers["psbeta"]))
    columns = [torch.ones_like(data["x"]), data["x"]]
    return known(folder, "kilpisjarvi_mod-kilpisjarvi", columns, data["y"], None, normals)


def known(
    folder: Path,
    name: str,
    columns: Sequence[Tensor],
    y: Tensor,
    sigma: Distribution | None,
    normals: Sequence[tuple[float, float]] = (),
) -> Known:
    """A regression with its reference draws; σ's law (`None`: flat), and means and deviations of the coefficients."""
    chains = read(folder / f"{name}.draws.json.zip")
    draws = torch.tensor([list(chain.values()) for chain in chains], dtype=torch.float64).mT
    x = torch.stack(list(columns), 1)
    mean, std = torch.tensor(list(normals) or [(0.0, torch.inf)] * x.shape[1], dtype=x.dtype).unbind(1)
    prior = NamedPriors(
        {
            "log_scale": LogScalePrior(sigma),
            "model.weight": Normal(mean, std, validate_args=False) if normals else FlatPrior(),
        }
    )
    problem = Problem(name, least_squares(x, y[:, None]), x, y[:, None], GaussianLogScale(), prior)
    theory = LearnedScaleRegression(
        x,
        y,
        prior_mean=mean,
        prior_precision=std**-2,
        log_prior=lambda s: s if sigma is None else sigma.log_prob(s.exp()) + s,
    )
    return Known(problem, draws, theory)


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


SCHOOLS_PRIOR = NamedPriors(
    {"mu": Normal(0.0, 5.0), "log_tau": LogScalePrior(HalfCauchy(5.0)), "raw": Normal(0.0, 1.0)}
)
"""μ ~ N(0, 5), τ ~ half-Cauchy(5) by its logarithm, θ̃ ~ N(0, 1)."""


def eight_schools(folder: Path) -> Known:
    """Eight schools, non-centred; the reference draws are (θ, μ, τ)."""
    data = vectors(folder, "eight_schools")
    chains = read(folder / "eight_schools-eight_schools_noncentered.draws.json.zip")
    names = [f"theta[{i + 1}]" for i in range(8)] + ["mu", "tau"]
    draws = torch.tensor([[chain[key] for key in names] for chain in chains], dtype=torch.float64).mT
    y = data["y"] / data["sigma"]
    return Known(Problem("eight_schools", Schools(), data["sigma"], y, Gaussian(1.0), SCHOOLS_PRIOR), draws)


def schools_draws(draws: Mapping[str, Tensor]) -> Tensor:
    """Return (θ, μ, τ) [chains, draws, 10] of draws by name [chains, draws, ...]."""
    mu, tau = draws["mu"][..., None], draws["log_tau"].exp()[..., None]
    return torch.cat([mu + tau * draws["raw"], mu, tau], -1)
