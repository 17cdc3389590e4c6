"""What the benchmarks of samplers share: a model at its optimum, chains that leave it, and what both cost.

`optimum` and `iterates` are `bayessgd.optimum` and `bayessgd.sampling.iterates` with a problem's name and what runs
cost. `whitened_nuts` samples z in θ = θ* + Rz with RRᵀ = (NA)⁻¹, where Laplace's approximation is a standard normal:
the coordinates that NUTS could at best adapt to.

Costs are gradients of single data; over N they are passes.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import bayessgd
from bayessgd import Ensemble, Subspace, subspace_nuts
from bayessgd.likelihoods import Likelihood
from bayessgd.params import flatten, named_parameters
from bayessgd.priors import Prior
from bayessgd.samplers import Sampler
from bayessgd.sampling import FAR

__all__ = ["FAR", "Optimum", "Problem", "Run", "by_chain", "iterates", "optimum", "whitened_nuts"]


@dataclass(frozen=True)
class Problem:
    """A model, all the data, and the laws that make its posterior."""

    name: str
    model: nn.Module
    x: Tensor
    y: Tensor
    likelihood: Likelihood
    prior: Prior

    def __len__(self) -> int:
        return len(self.x)

    @property
    def like(self) -> dict[str, Tensor]:
        """The model's parameters by name."""
        return {name: p.detach() for name, p in named_parameters(self.model).items()}


@dataclass(frozen=True)
class Optimum:
    """A problem whose model stands at θ*, with the curvature A and the noise C there, and the passes they took."""

    problem: Problem
    found: bayessgd.Optimum

    @property
    def A(self) -> Tensor:
        """A [p, p]."""
        return self.found.curvature

    @property
    def C(self) -> Tensor:
        """C [p, p]."""
        return self.found.noise

    @property
    def passes(self) -> int:
        """Of Newton's method."""
        return self.found.passes

    @property
    def inverse(self) -> Tensor:
        """A⁻¹."""
        return self.found.inverse

    @property
    def root(self) -> Tensor:
        """R with RRᵀ = (NA)⁻¹."""
        return self.found.root

    def excursions(self, draws: Tensor) -> tuple[int, float]:
        """Return how many chains left for more than FAR standard deviations, or for good, and the farthest draw."""
        farthest = self.found.distances(draws).amax(1)
        return int((farthest > FAR).sum()), float(farthest.max())


def optimum(problem: Problem, *, chunk_size: int | None = None) -> Optimum:
    """`bayessgd.optimum` from where the model stands; the model is moved there."""
    p = problem
    found = bayessgd.optimum(p.model, p.x, p.y, likelihood=p.likelihood, prior=p.prior, chunk_size=chunk_size)
    p.model.load_state_dict(found.params, strict=False)
    return Optimum(p, found)


@dataclass(frozen=True)
class Run:
    """Draws [chains, draws, p], flat in the order of the model's parameters, and what they cost.

    Attributes:
        draws: The draws.
        passes: Gradients of single data over N, burn-in or warm-up included.
        left: Chains that went farther than FAR standard deviations of Laplace's approximation, or for good.
        farthest: The farthest draw, in those standard deviations.
    """

    draws: Tensor
    passes: float
    left: int = 0
    farthest: float = 0.0


def iterates(at: Optimum, sampler: Sampler, *, draws: int, num_chains: int, seed: int = 0) -> Run:
    """Run chains from θ* on batches drawn with replacement; chains that leave are counted, not refused."""
    found = bayessgd.sampling.iterates(at.found, sampler, draws, num_chains, seed=seed)
    return Run(
        found, bayessgd.sampling.passes_of(at.found, sampler, draws, num_chains), *at.excursions(found)
    )


def whitened_nuts(at: Optimum, *, num_samples: int, num_chains: int = 2, seed: int = 0) -> Run:
    """NUTS in the coordinates of Laplace's approximation, the mass matrix adapted there once more."""
    problem = at.problem
    space = Subspace(problem.like, at.root.mT, torch.ones_like(at.root[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short chains are told of by their errors
        found = subspace_nuts(
            problem.model,
            space,
            problem.x,
            problem.y,
            likelihood=problem.likelihood,
            prior=problem.prior,
            num_samples=num_samples,
            num_chains=num_chains,
            seed=seed,
            progress=False,
        )
    run = by_chain(found, problem.like)
    return Run(run.draws, run.passes, *at.excursions(run.draws))


def by_chain(found: Ensemble, like: dict[str, Tensor]) -> Run:
    """Return NUTS's draws, each of whose gradients is a pass."""
    draws = flatten(found.draws, like).unflatten(0, (found.chains, -1))
    return Run(draws, float(found.origin["gradient_evaluations"]))
