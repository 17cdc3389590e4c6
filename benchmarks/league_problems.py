"""The problems of `league.py`, and their exact moments."""

from dataclasses import dataclass

import torch
from agreement import Moments
from calibration import data, problem
from league_walk import Problem
from sbc_samplers import DRAWS, SIGMA, simulate
from torch import Tensor

from bayessgd.likelihoods import Gaussian

__all__ = ["Case", "exact_moments", "regressions", "simulations"]

WIDER = 0.05
"""How much of the variance the batches' noise adds at `Problem.lr`: lr·N·C/(2S)."""


@dataclass(frozen=True)
class Case:
    """A problem, with what the contenders are not told.

    Attributes:
        name: For the page.
        problem: What they are told.
        A, C: Curvature and noise at the mode, [B or 1, D, D].
        truth: θ̃ of every simulation [B, D]; `None` where there is none.
    """

    name: str
    problem: Problem
    A: Tensor
    C: Tensor
    truth: Tensor | None = None


def rhythm(A: Tensor, C: Tensor, *, num_data: int, batch: int) -> dict[str, float]:
    """Return the learning rate at which batches add 5 % of the variance, and the slowest relaxation."""
    noisiest = float(C.diagonal(dim1=1, dim2=2).mean(0).max())
    slowest = float(torch.linalg.eigvalsh(A)[:, 0].median())
    return {"lr": WIDER * 2 * batch / (num_data * noisiest), "slow": 1 / slowest}


def simulations(count: int, seed: int) -> Case:
    """`sbc.py`'s regressions: three coefficients, N = 100, σ = 1, data of their own."""
    found = simulate(count, seed)
    n = found.x.shape[1]
    mode = torch.linalg.solve(n * found.A, found.x.mT @ found.y / SIGMA**2)[..., 0]
    told = Problem(
        found.x,
        found.y[..., 0],
        logistic=False,
        sigma=SIGMA,
        precision=1.0,
        mode=mode,
        **rhythm(found.A, found.C, num_data=n, batch=50),
        batch=50,
        small=10,
        draws=DRAWS,
        apart=1.5,
        burn=5.0,
    )
    return Case("simulations", told, found.A, found.C, found.truth)


def regressions(chains: int, draws: int) -> list[Case]:
    """`calibration.py`'s diabetes and breast cancer, many chains of each."""
    cases = []
    for p in (problem(*each) for each in data()[:2]):
        likelihood = p.likelihood
        told = Problem(
            p.x[None],
            p.y[None, :, 0].double(),
            logistic=not isinstance(likelihood, Gaussian),
            sigma=float(likelihood.scale) if isinstance(likelihood, Gaussian) else 1.0,  # pyright: ignore[reportArgumentType]
            precision=1.0,
            mode=p.net.weight.detach().expand(chains, -1).clone(),
            **rhythm(p.A[None], p.C[None], num_data=len(p.x), batch=32),
            batch=32,
            small=32,
            draws=draws,
            apart=1.0,
            burn=5.0,
        )
        cases.append(Case(p.name, told, p.A[None], p.C[None]))
    return cases


def exact_moments(case: Case, *, samples: int = 200_000, groups: int = 20) -> Moments:
    """Return mean and standard deviation of the one posterior: in closed form, or by importance sampling.

    The proposal is a Student t of ten degrees of freedom around the mode, 1.3 times as wide as Laplace's
    approximation; the errors are those of means over groups of samples.
    """
    p = case.problem
    mode, cov = p.mode[0], torch.linalg.inv(p.num_data * case.A[0])
    if not p.logistic:
        return Moments.exact(mode, cov.diagonal().sqrt())
    random, size, freedom = torch.Generator().manual_seed(0), len(mode), 10
    normal = torch.randn(samples, size, generator=random, dtype=mode.dtype)
    radii = torch.randn(samples, freedom, generator=random, dtype=mode.dtype).square().mean(1)
    z = normal / radii.sqrt()[:, None]
    theta = mode + z @ (1.3 * torch.linalg.cholesky(cov)).T
    log_joint = torch.cat(
        [-p.num_data * p.joint(part, p.x.expand(len(part), -1, -1), p.y) for part in theta.split(2000)]
    )
    log_proposal = -0.5 * (freedom + size) * (z.square().sum(1) / freedom).log1p()
    weights = (log_joint - log_proposal).softmax(0)
    mean = weights @ theta
    std = (weights @ (theta - mean).square()).sqrt()
    parts = [
        (w @ t / w.sum(), (w @ (t - mean).square() / w.sum()).sqrt())
        for w, t in zip(weights.chunk(groups), theta.chunk(groups), strict=True)
    ]
    errors = [torch.stack(each).std(0) / groups**0.5 for each in zip(*parts, strict=True)]
    return Moments(mean, std, errors[0], errors[1], (torch.inf, torch.inf))
