"""What the benchmarks of samplers share: a model at its optimum, chains that leave it, and what both cost.

`optimum` goes to the mode θ* of the mean negative log joint L and measures its curvature A and the covariance C of one
datum's gradient there, from which `bayessgd.theory` makes preconditioners and noise. `iterates` runs many chains of

    θ ← θ − Hĝ(θ) + Q^½ξ,      ξ ~ N(0, I),

from θ* and keeps every so manieth iterate, or the means of windows. `whitened_nuts` samples z in θ = θ* + Rz with
RRᵀ = (NA)⁻¹, where Laplace's approximation is a standard normal: the coordinates that NUTS could at best adapt to.

Costs are gradients of single data; over N they are passes.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.func import grad, hessian
from tqdm import tqdm

from bayessgd import Chains, Ensemble, IterateAverage, Subspace, noise, subspace_nuts
from bayessgd.likelihoods import Likelihood, mean_negative_log_joint
from bayessgd.optim import PreconditionedSGD
from bayessgd.params import flatten, named_parameters, unflatten
from bayessgd.priors import Prior

__all__ = ["Optimum", "Problem", "Run", "Sampler", "by_chain", "iterates", "optimum", "walk", "whitened_nuts"]

Loss = Callable[..., Tensor]
"""From model, parameters by name, x and y to a number."""
MOST_STEPS = 200
"""Of Newton's method."""
FAR = 15.0
"""In standard deviations of Laplace's approximation: what leaves for farther is an excursion and no draw."""


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
    def loss(self) -> Loss:
        """L(θ), of all data or of a batch."""
        laws = {"likelihood": self.likelihood, "prior": self.prior, "num_data": len(self)}
        return partial(mean_negative_log_joint, **laws)

    @property
    def like(self) -> dict[str, Tensor]:
        """The model's parameters by name."""
        return {name: p.detach() for name, p in named_parameters(self.model).items()}

    def datum(self, output: Tensor, y: Tensor) -> Tensor:
        """Return −log p(y | output): the prior moves all gradients alike, and no covariance."""
        return -self.likelihood.log_prob(output, y)


@dataclass(frozen=True)
class Optimum:
    """A problem whose model stands at θ*, with the curvature A and the noise C there, and the passes they took."""

    problem: Problem
    A: Tensor
    C: Tensor
    passes: int

    @cached_property
    def inverse(self) -> Tensor:
        """A⁻¹, symmetric as an inverse by LU is not."""
        return torch.cholesky_inverse(self._factor)

    @cached_property
    def _factor(self) -> Tensor:
        return torch.linalg.cholesky(self.A)

    @cached_property
    def root(self) -> Tensor:
        """R with RRᵀ = (NA)⁻¹, and a positive diagonal."""
        return torch.linalg.cholesky(self.inverse / len(self.problem))

    @property
    def theta(self) -> Tensor:
        """θ*, flat."""
        return flatten(self.problem.like)

    def feasible(self, batch: int) -> float:
        """Return the largest h for which H = hA⁻¹ leaves room for injected noise: h(A + NC/S) ⪯ 2A."""
        noisy = self.A + len(self.problem) / batch * self.C
        half = torch.linalg.solve_triangular(self._factor, noisy, upper=False)
        return 2 / float(
            torch.linalg.eigvalsh(torch.linalg.solve_triangular(self._factor, half.mT, upper=False))[-1]
        )

    def excursions(self, draws: Tensor) -> tuple[int, float]:
        """Return how many chains left for more than FAR standard deviations, or for good, and the farthest draw."""
        away = torch.linalg.solve_triangular(self.root, (draws - self.theta).mT.double(), upper=False)
        farthest = away.abs().nan_to_num(torch.inf).amax((1, 2))
        return int((farthest > FAR).sum()), float(farthest.max())


def optimum(problem: Problem, *, chunk_size: int | None = None) -> Optimum:
    """Damped Newton's method from where the model stands; the model is moved.

    The Hessian's eigenvalues, the diagonal scaled to one, are taken by their absolute values, so that every direction
    descends, and the step is halved until the loss does (Nocedal & Wright 2006, chapter 3).

    Raises:
        RuntimeError: No optimum, with the cause: derivatives that are not finite, no minimum, or rounding.
    """
    model, like, n = problem.model, problem.like, len(problem)

    def loss(flat: Tensor) -> Tensor:
        return problem.loss(model, unflatten(flat, like), problem.x, problem.y)

    theta, hidden, steps = flatten(like), 0, 0
    # Its convergence is quadratic: after a step of 1e-6 of the posterior's width the next is rounding. float32 does
    # not see so little, and a thousandth is enough for it.
    enough = 1e-6 if theta.dtype == torch.float64 else 1e-3
    while True:
        steps += 1
        A, gradient, value = hessian(loss)(theta), grad(loss)(theta), loss(theta)
        _refuse_infinite(problem, theta, A, gradient)
        step, definite = _descent(A, gradient)
        slope = float(step @ gradient)
        length, lowered = (n * max(slope, 0.0)) ** 0.5, slope / 2
        if definite and length <= enough:
            break
        seen = 8 * torch.finfo(theta.dtype).eps * max(abs(float(value)), 1.0)
        hidden += lowered <= seen
        if hidden > 8:
            raise RuntimeError(
                f"{problem.name}: the optimum is hidden by the rounding of {theta.dtype}, {length:.2g} of the "
                f"posterior's widths from it; {_wider(theta.dtype)}"
            )
        if steps == MOST_STEPS:
            raise RuntimeError(
                f"{problem.name} has no optimum within {steps} steps of Newton's method, the last of {length:.2g} of "
                "the posterior's widths; a prior that is not flat, or a start nearer to it"
            )
        theta = theta - (step if lowered <= seen else _shorten(problem, loss, theta, step, slope) * step)
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in unflatten(theta, like).items():
            own[name].copy_(value)
    data = (problem.x, problem.y)
    C = noise.gradient_noise(model, problem.datum, *data, correction=0, chunk_size=chunk_size).covariance
    # A Hessian is as many passes as it has columns.
    return Optimum(problem, A, C, passes=steps * (len(theta) + 1))


def _wider(dtype: torch.dtype) -> str:
    if dtype == torch.float64:
        return "centre and scale the features"
    return "use float64: model.double(), x.double(), y.double()"


def _refuse_infinite(problem: Problem, theta: Tensor, A: Tensor, gradient: Tensor) -> None:
    if bool(A.isfinite().all()) and bool(gradient.isfinite().all()):
        return
    raise RuntimeError(
        f"{problem.name}: the loss has no finite derivatives where the search stands (parameters up to "
        f"{float(theta.abs().max()):.3g}, {theta.dtype}); start nearer to the data, or scale them"
    )


def _descent(A: Tensor, gradient: Tensor) -> tuple[Tensor, bool]:
    """Return |A|⁻¹g and whether A is positive definite."""
    scale = A.diagonal().abs().clamp(min=torch.finfo(A.dtype).tiny).rsqrt()
    values, vectors = torch.linalg.eigh(scale[:, None] * A * scale)
    floor = len(A) * torch.finfo(A.dtype).eps * values.abs().max()
    step = scale * (vectors @ ((vectors.mT @ (scale * gradient)) / values.abs().clamp(min=floor)))
    return step, float(values[0]) > float(floor)


def _shorten(
    problem: Problem, loss: Callable[[Tensor], Tensor], theta: Tensor, step: Tensor, slope: float
) -> float:
    """Return the first of 1, ½, ¼ … that lowers the loss by a ten-thousandth of what the slope promises."""
    start, factor = float(loss(theta)), 1.0
    for _ in range(60):
        reached = float(loss(theta - factor * step))
        if reached <= start - 1e-4 * factor * slope:  # False for NaN
            return factor
        factor /= 2
    raise RuntimeError(
        f"{problem.name}: no step lowers the loss of {start:.6g}, although its slope is {slope:.3g}: rounding in "
        f"{theta.dtype}; {_wider(theta.dtype)}"
    )


@dataclass(frozen=True)
class Sampler:
    """How chains step, and which iterates are draws.

    Attributes:
        name: In the table.
        batch: S.
        H: The preconditioner [p, p].
        Q: The covariance of the noise injected at every step; `None` injects nothing.
        burn_in: Steps before the first draw.
        thin: Steps between draws.
        draws: Of each chain.
        window: T, where draws are the means of T iterates; the same as `thin`.
        loss: In place of the problem's own L, such as one with a control variate.
        gradients: Of single data, per datum of a batch.
    """

    name: str
    batch: int
    H: Tensor
    Q: Tensor | None
    burn_in: int
    thin: int
    draws: int
    window: int | None = None
    loss: Loss | None = None
    gradients: int = 1


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


def walk(
    chains: Chains,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    batches: Callable[[], tuple[Tensor, Tensor]],
    *,
    burn_in: int,
    thin: int,
    draws: int,
    window: int | None = None,
    name: str = "",
) -> Tensor:
    """Step all chains and return draws [chains, draws, p]: iterates, or with `window` means of so many."""
    average = None if window is None else IterateAverage(chains, window=window)
    if average is not None:
        average.attach(optimizer, start=burn_in)
    kept, like = [], {key: p[0] for key, p in chains.named_parameters()}
    for step in tqdm(range(burn_in + draws * thin), desc=name, leave=False, disable=None):
        x, y = batches()
        optimizer.zero_grad()
        chains.map(loss, x, y).sum().backward()
        optimizer.step()
        if average is None and step >= burn_in and (step - burn_in + 1) % thin == 0:
            kept.append(flatten(dict(chains.named_parameters()), like).detach().clone())
    if average is None:
        return torch.stack(kept, 1)
    means = average.posterior().draws  # [windows, chains, ...] by name
    return torch.cat([means[key].flatten(2) for key in means], 2).transpose(0, 1)


def iterates(at: Optimum, sampler: Sampler, *, num_chains: int, seed: int = 0) -> Run:
    """Run chains from θ* on batches drawn with replacement."""
    problem, n = at.problem, len(at.problem)
    random = torch.Generator().manual_seed(seed)
    chains = Chains(problem.model, num_chains, jitter=0.0, seed=seed)
    optimizer = PreconditionedSGD(
        chains.parameters(),
        preconditioner=sampler.H,
        noise_covariance=sampler.Q,
        stacked=True,
        generator=torch.Generator().manual_seed(seed + 1),
    )

    def batches() -> tuple[Tensor, Tensor]:
        pick = torch.randint(n, (num_chains, sampler.batch), generator=random)
        return problem.x[pick], problem.y[pick]

    draws = walk(
        chains,
        optimizer,
        sampler.loss or problem.loss,
        batches,
        burn_in=sampler.burn_in,
        thin=sampler.thin,
        draws=sampler.draws,
        window=sampler.window,
        name=f"{problem.name}, {sampler.name}",
    )
    steps = sampler.burn_in + sampler.draws * sampler.thin
    return Run(draws, steps * sampler.batch * sampler.gradients * num_chains / n, *at.excursions(draws))


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
