"""The conjugate regressions of the simulation-based calibration, and the samplers that are calibrated on them.

y ~ N(xβ, σ²) with β ~ N(0, 1) in three dimensions, N = 100; every simulation has data of its own, with its own A and C,
and is one chain of a stack. Step sizes are such that the bias of those samplers that have one (first order in the step:
SGLD, its preconditioned form, SGHMC, SGFS) is below what the ranks can tell, and one that is too long on purpose.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bayessgd import Chains, reference, theory
from bayessgd.likelihoods import Gaussian, mean_negative_log_joint
from bayessgd.optim import SGFS, SGHMC, SGLD, PreconditionedSGD, PreconditionedSGLD
from bayessgd.priors import GaussianPrior
from bayessgd.sampling import walk

__all__ = ["DRAWS", "Sampler", "Simulations", "by_nuts", "run", "samplers", "simulate"]

N, D, SIGMA, DRAWS = 100, 3, 1.0, 63
SMALL, AVERAGED = 10, 0.4
"""The batch of the samplers that count on its noise, and the step of iterate averaging as a share of A⁻¹."""
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
        """The regression that all chains have, at the prior's mean."""
        model = nn.Linear(D, 1, bias=False).double()
        nn.init.zeros_(model.weight)
        return model


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


def exact(data: Simulations, chains: Chains, seed: int) -> torch.optim.Optimizer:
    H = [
        theory.optimal_preconditioner(C, num_data=N, batch_size=SMALL, A=A)
        for A, C in zip(data.A, data.C, strict=True)
    ]
    return PreconditionedSGD(chains.parameters(), preconditioner=torch.stack(H), stacked=True)


def corrected(data: Simulations, chains: Chains, seed: int) -> torch.optim.Optimizer:
    H = 0.05 * torch.linalg.inv(data.A)
    Q = [
        theory.injected_noise(A, C, preconditioner=h, num_data=N, batch_size=SMALL)
        for A, C, h in zip(data.A, data.C, H, strict=True)
    ]
    return PreconditionedSGD(
        chains.parameters(),
        preconditioner=H,
        noise_covariance=torch.stack(Q),
        stacked=True,
        generator=torch.Generator().manual_seed(seed),
    )


def newton(data: Simulations, chains: Chains, seed: int) -> torch.optim.Optimizer:
    H = AVERAGED * torch.linalg.inv(data.A)
    return PreconditionedSGD(chains.parameters(), preconditioner=H, stacked=True)


def window(data: Simulations) -> int:
    """Return the T at which the means of windows have the posterior's spread, exactly, on the first data."""
    A, x, y = data.A[0], data.x[0], data.y[0, :, 0]
    problem = theory.LinearRegression(x, y, noise_precision=SIGMA**-2, prior_precision=1.0)
    H = AVERAGED * torch.linalg.inv(A)
    C = problem.noise(problem.stationary_covariance(preconditioner=H, batch_size=SMALL))
    found = [
        theory.iterate_average_covariance(A, C, num_iterates=T, batch_size=SMALL, preconditioner=H)
        for T in range(2, 4 * N // SMALL)
    ]
    errors = [abs(float((N * A @ cov).trace()) / D - 1) for cov in found]
    return 2 + errors.index(min(errors))


def langevin(kind: Callable, chains: Chains, seed: int, **options: float | bool) -> torch.optim.Optimizer:
    return kind(chains.parameters(), num_data=N, generator=torch.Generator().manual_seed(seed), **options)


def samplers(data: Simulations) -> list[Sampler]:
    """All that are vectorised over the simulations."""
    T = window(data)
    fisher = partial(langevin, SGFS, lr=0.03, batch_size=SMALL, stacked=True)
    return [
        Sampler("SGD, exact preconditioner", partial(exact, data), SMALL, 40),
        Sampler("corrected", partial(corrected, data), SMALL, 60),
        Sampler(f"IASG, T = {T}", partial(newton, data), SMALL, T, window=T),
        Sampler("SGLD", partial(langevin, SGLD, lr=0.03), 50, 200),
        Sampler("preconditioned SGLD", partial(langevin, PreconditionedSGLD, lr=4e-3, decay=0.999), 50, 200),
        Sampler("SGHMC", partial(langevin, SGHMC, lr=4e-3, momentum=0.9), 50, 150),
        Sampler("SGFS", fisher, SMALL, 250),
        Sampler("SGLD, too long a step", partial(langevin, SGLD, lr=0.3), 5, 30),
    ]


def run(data: Simulations, sampler: Sampler, seed: int) -> Tensor:
    """Return draws [sims, DRAWS, D]."""
    random, each = torch.Generator().manual_seed(seed), torch.arange(len(data.truth))[:, None]
    chains = Chains(data.model, len(data.truth), jitter=0.0)

    def batches() -> tuple[Tensor, Tensor]:
        pick = torch.randint(N, (len(data.truth), sampler.batch), generator=random)
        return data.x[each, pick], data.y[each, pick]

    laws = {"likelihood": Gaussian(SIGMA), "prior": GaussianPrior(1.0), "num_data": N}
    return walk(
        chains,
        sampler.make(chains, seed + 1),
        partial(mean_negative_log_joint, **laws),
        batches,
        burn_in=20 * sampler.thin,
        thin=sampler.thin,
        draws=DRAWS,
        window=sampler.window,
        name=sampler.name,
    )


def by_nuts(data: Simulations, seed: int) -> Tensor:
    """Return draws [sims, DRAWS, D]: one chain each, every second of 2·DRAWS after a warm-up of 100."""
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
