"""This package's contenders in `league.py`."""

import math
import warnings
from collections.abc import Callable

import torch
from league_problems import Case
from league_walk import Result, relaxation, walk
from torch import Tensor, nn

from bayessgd import SWAG, reference, theory
from bayessgd.likelihoods import Bernoulli, Gaussian
from bayessgd.optim import SGHMC, SGLD, PreconditionedSGD
from bayessgd.priors import GaussianPrior

__all__ = ["CONTENDERS"]

MOMENTUM, SNAPSHOTS, SHARE = 0.9, 100, 0.05
"""Of SGHMC; of SWAG; the corrected sampler's step as a share of A⁻¹."""


def by_optimizer(
    case: Case, seed: int, make: Callable[[list[Tensor]], torch.optim.Optimizer], *, steps: float, batch: int
) -> Result:
    p = case.problem
    theta = p.start()
    optimizer = make([theta])

    @torch.no_grad()
    def step(x: Tensor, y: Tensor) -> None:
        theta.grad = p.gradient(theta, x, y)
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
    return [float(theory.optimal_learning_rate(C, **sizes(case))) * eye for C in case.C]  # pyright: ignore[reportArgumentType]


def plain(case: Case, seed: int) -> Result:
    return preconditioned(case, seed, plain_rates(case))


def exact(case: Case, seed: int) -> Result:
    pairs = zip(case.A, case.C, strict=True)
    return preconditioned(
        case,
        seed,
        [theory.optimal_preconditioner(C, A=A, **sizes(case)) for A, C in pairs],  # pyright: ignore[reportArgumentType]
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
        theta.data.sub_(rate[:, None] * p.gradient(theta.detach(), *pick()))
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
