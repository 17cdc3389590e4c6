"""This package's contenders in `league.py`, and the problems that all contenders are given."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from agreement import Moments
from calibration import data, problem
from league_walk import Problem, Result, relaxation, walk
from sbc_samplers import DRAWS, SIGMA, simulate
from torch import Tensor, nn

from bayessgd import SWAG, reference, theory
from bayessgd.likelihoods import Bernoulli, Gaussian
from bayessgd.optim import SGHMC, SGLD, PreconditionedSGD
from bayessgd.priors import GaussianPrior

__all__ = ["CONTENDERS", "Case", "exact_moments", "regressions", "simulations"]

MOMENTUM, SNAPSHOTS, SHARE = 0.9, 100, 0.05
"""Of SGHMC; of SWAG; the corrected sampler's step as a share of A⁻¹."""
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
            sigma=float(likelihood.scale) if isinstance(likelihood, Gaussian) else 1.0,
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


def by_optimizer(
    case: Case, seed: int, make: Callable[[list[Tensor]], torch.optim.Optimizer], *, steps: float, batch: int
) -> Result:
    p = case.problem
    theta = p.start()
    optimizer = make([theta])

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        p.joint(theta, x, y).sum().backward()
        optimizer.step()

    return walk(p, theta, step, steps=steps, seed=seed, batch=batch)


def preconditioned(case: Case, seed: int, H: list[Tensor], Q: list[Tensor] | None = None) -> Result:
    """SGD with H for each chain, its noise too; how slow it is shows in the eigenvalues of HA."""
    chains = case.problem.chains
    rates = torch.stack([torch.linalg.eigvals(h @ A).real.min() for h, A in zip(H, case.A, strict=True)])
    steps = max(1.0, 1 / float(rates.median()))

    def make(parameters: list[Tensor]) -> torch.optim.Optimizer:
        shape = (chains, *H[0].shape)
        return PreconditionedSGD(
            parameters,
            preconditioner=torch.stack(H).expand(shape),
            noise_covariance=None if Q is None else torch.stack(Q).expand(shape),
            stacked=True,
            generator=torch.Generator().manual_seed(seed + 1),
        )

    return by_optimizer(case, seed, make, steps=steps, batch=case.problem.small)


def sizes(case: Case) -> dict[str, int]:
    return {"num_data": case.problem.num_data, "batch_size": case.problem.small}


def plain_rates(case: Case) -> list[Tensor]:
    eye = torch.eye(case.A.shape[1], dtype=case.A.dtype)
    return [float(theory.optimal_learning_rate(C, **sizes(case))) * eye for C in case.C]


def plain(case: Case, seed: int) -> Result:
    return preconditioned(case, seed, plain_rates(case))


def exact(case: Case, seed: int) -> Result:
    pairs = zip(case.A, case.C, strict=True)
    return preconditioned(
        case, seed, [theory.optimal_preconditioner(C, A=A, **sizes(case)) for A, C in pairs]
    )


def corrected(case: Case, seed: int) -> Result:
    H = [SHARE * torch.linalg.inv(A) for A in case.A]
    triples = zip(case.A, case.C, H, strict=True)
    Q = [theory.injected_noise(A, C, preconditioner=h, **sizes(case)) for A, C, h in triples]
    return preconditioned(case, seed, H, Q)


def langevin(case: Case, seed: int) -> Result:
    p = case.problem

    def make(parameters: list[Tensor]) -> torch.optim.Optimizer:
        generator = torch.Generator().manual_seed(seed + 1)
        return SGLD(parameters, p.lr, num_data=p.num_data, generator=generator)

    return by_optimizer(case, seed, make, steps=relaxation(p, p.lr), batch=p.batch)


def hamiltonian(case: Case, seed: int) -> Result:
    p = case.problem
    lr = p.lr * (1 - MOMENTUM)

    def make(parameters: list[Tensor]) -> torch.optim.Optimizer:
        generator = torch.Generator().manual_seed(seed + 1)
        return SGHMC(parameters, lr, num_data=p.num_data, momentum=MOMENTUM, generator=generator)

    return by_optimizer(case, seed, make, steps=relaxation(p, lr, 1 - MOMENTUM), batch=p.batch)


def swag(case: Case, seed: int) -> Result:
    """A SWAG of every chain of SGD at the optimal rate: a hundred snapshots, rank 20, the paper's scale."""
    p, rates = case.problem, plain_rates(case)
    rate = torch.stack([h[0, 0] for h in rates]).expand(p.chains)
    steps = max(1, math.ceil(p.slow / float(rate.min())))
    theta, pick = p.start(), p.picker(torch.Generator().manual_seed(seed), p.small)
    nets = [nn.Linear(theta.shape[1], 1, bias=False).double() for _ in range(p.chains)]
    swags = [SWAG(net, rank=20) for net in nets]
    for k in range((SNAPSHOTS + 5) * steps):
        (gradient,) = torch.autograd.grad(p.joint(theta, *pick()).sum(), theta)
        theta.data.sub_(rate[:, None] * gradient)
        if k >= 5 * steps and (k + 1) % steps == 0:
            for net, own, one in zip(nets, theta.detach(), swags, strict=True):
                net.weight.data.copy_(own)
                one.update()
    random = torch.Generator().manual_seed(seed + 1)
    draws = [one.posterior().sample(p.draws, generator=random)["weight"][:, 0] for one in swags]
    return Result(torch.stack(draws), (SNAPSHOTS + 5) * steps * p.small / p.num_data)


def nuts(case: Case, seed: int) -> Result:
    """Pyro's, by `reference.nuts`: a chain of each of the first hundred simulations, two long ones of one data set."""
    p, size = case.problem, case.problem.mode.shape[1]
    many = len(p.x) > 1
    chains, samples, warm_up = (1, 2 * p.draws, 100) if many else (2, 1000, 300)
    likelihood = Bernoulli() if p.logistic else Gaussian(p.sigma)
    draws, passes = [], 0.0
    for k in range(min(100, len(p.x))):
        net = nn.Linear(size, 1, bias=False).double()
        net.weight.data.copy_(p.mode[k : k + 1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # short chains are told of by their errors
            found = reference.nuts(
                net,
                p.x[k],
                p.y[k][:, None],
                likelihood=likelihood,
                prior=GaussianPrior(p.precision),
                num_samples=samples,
                num_warmup=warm_up,
                num_chains=chains,
                jitter=0.0,
                seed=seed + k,
                progress=False,
            )
        kept = found.by_chain()["weight"][:, :, 0]
        draws.append(kept[:, 1::2] if many else kept)
        passes += float(found.origin["gradient_evaluations"])
    return Result(torch.cat(draws), passes / (len(draws) * chains))


CONTENDERS: dict[str, Callable[[Case, int], Result]] = {
    "ours-sgd": plain,
    "ours-exact": exact,
    "ours-corrected": corrected,
    "ours-sgld": langevin,
    "ours-sghmc": hamiltonian,
    "ours-swag": swag,
    "ours-nuts": nuts,
}
