"""The mode of a posterior, with the curvature and the noise there: what samplers of batches are made from.

With L(θ) the mean negative log joint per datum of N data, the mode is θ* = argmin L, near which the posterior is

    N(θ*, (NA)⁻¹),      A = ∇²L(θ*)        (Laplace's approximation)

and C is the covariance of one datum's gradient at θ*. θ* is found by a damped Newton's method: the Hessian's
eigenvalues, its diagonal scaled to one, are taken by their absolute values, so that every direction descends, and the
step is halved until the loss does (Nocedal & Wright 2006, chapter 3). It ends when the step is 1e-6 of the posterior's
width (1e-3 in float32, which does not see less), and says why where it cannot.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import grad, hessian

from bayessgd._data import check_finite_data, check_laws, check_targets
from bayessgd._evaluating import evaluating
from bayessgd._functional import elementary
from bayessgd._over import quietly, warn
from bayessgd._padding import check_unpadded
from bayessgd._probabilities import told_of_probabilities
from bayessgd.likelihoods import Likelihood, mean_negative_log_joint
from bayessgd.noise import gradient_noise
from bayessgd.params import flatten, named_parameters, unflatten, unwrap
from bayessgd.priors import Prior
from metrics.inputs import check_count
from metrics.precision import full_precision

__all__ = ["Optimum", "optimum"]

LARGEST = 4096
"""Parameters: A and C are matrices."""
HIDDEN = 8
"""Steps that rounding hides before the search gives up."""


@dataclass(frozen=True)
class Optimum:
    """A posterior's mode, and the matrices there; `bayessgd.sample` starts from it.

    Attributes:
        model: The bare network, as it was given.
        x: All the inputs `[N, ...]`.
        y: All the targets `[N, ...]`.
        likelihood: From the network's output to the law of the target.
        prior: The law of θ.
        params: θ* by name.
        curvature: A `[p, p]`, flat in the order of `params`.
        noise: C `[p, p]`, over exactly these data (divided by N).
        passes: What finding it cost, in passes over the data: a Hessian is as many as it has columns.
    """

    model: nn.Module = field(repr=False)
    x: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    likelihood: Likelihood
    prior: Prior
    params: dict[str, Tensor]
    curvature: Tensor = field(repr=False)
    noise: Tensor = field(repr=False)
    passes: int

    @property
    def num_data(self) -> int:
        """N."""
        return len(self.x)

    @property
    def loss(self) -> Callable[..., Tensor]:
        """L(model, params, x, y), of all data or of a batch, as `Chains.map` takes it."""
        laws = {"likelihood": self.likelihood, "prior": self.prior, "num_data": self.num_data}
        return partial(mean_negative_log_joint, **laws)

    def datum(self, output: Tensor, y: Tensor) -> Tensor:
        """Return −log p(y | output) of a datum; the prior moves all gradients alike, and no covariance."""
        return -self.likelihood.log_prob(output, y)

    @property
    def slices(self) -> dict[str, slice]:
        """Where each parameter lies in the flat vector, and so in the rows and columns of every matrix."""
        found, start = {}, 0
        for name, value in self.params.items():
            found[name] = slice(start, start := start + value.numel())
        return found

    @cached_property
    def _factor(self) -> Tensor:
        return torch.linalg.cholesky(self.curvature)

    @cached_property
    def inverse(self) -> Float[Tensor, "p p"]:
        """A⁻¹, symmetric as an inverse by LU is not."""
        return torch.cholesky_inverse(self._factor)

    @cached_property
    def covariance(self) -> Float[Tensor, "p p"]:
        """(NA)⁻¹, Laplace's approximation of the posterior's covariance."""
        return self.inverse / self.num_data

    @cached_property
    def root(self) -> Float[Tensor, "p p"]:
        """R with RRᵀ = (NA)⁻¹, lower triangular with a positive diagonal."""
        return torch.linalg.cholesky(self.covariance)

    def distances(self, draws: Float[Tensor, "... p"]) -> Float[Tensor, "..."]:
        """Return the farthest coordinate of R⁻¹(θ − θ*) of flat draws: in standard deviations, infinite for NaN."""
        flat = draws.double() - flatten(self.params)
        away = torch.linalg.solve_triangular(
            self.root.double(), flat.reshape(-1, flat.shape[-1]).mT, upper=False
        )
        return away.abs().nan_to_num(torch.inf).amax(0).reshape(flat.shape[:-1])


@full_precision
def optimum(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    likelihood: Likelihood,
    prior: Prior,
    max_iterations: int = 200,
    chunk_size: int | None = None,
) -> Optimum:
    """Return the mode of p(θ | x, y), with curvature and noise there; the model is not changed.

    Args:
        model: A small network (at most 4096 parameters, each a column of a matrix), in evaluation mode while it is
            looked at; where it stands is where the search starts.
        x: All the inputs `[N, ...]`.
        y: All the targets `[N, ...]`.
        likelihood: From the output to the law of the target, one term per datum.
        prior: The law of θ.
        max_iterations: Newton steps at most.
        chunk_size: Data at once while C is measured; `None` is chosen by memory.

    Raises:
        TypeError, ValueError: Arguments that are not as above; derivatives that are not finite; no minimum; an optimum
            that rounding hides, with what would help.

    Warns:
        UserWarning: float32, and a posterior so narrow or so badly conditioned that its samplers lose digits.

    >>> from bayessgd.likelihoods import Gaussian
    >>> from bayessgd.priors import GaussianPrior
    >>> line, x = nn.Linear(1, 1, bias=False).double(), torch.ones(3, 1, dtype=torch.float64)
    >>> at = optimum(line, x, x, likelihood=Gaussian(1.0), prior=GaussianPrior(1.0))
    >>> at.params["weight"], at.covariance  # N(3/4, 1/4)
    (tensor([[0.7500]], dtype=torch.float64), tensor([[0.2500]], dtype=torch.float64))
    """
    network = unwrap(model)
    for name, given in (("x", x), ("y", y)):
        if isinstance(given, Mapping | tuple):
            raise TypeError(
                f"{name} must be one tensor here, got {type(given).__name__}; bayessgd.reference.nuts and "
                "bayessgd.snapshots take networks of several inputs"
            )
    check_finite_data(x, y)
    check_laws(likelihood, prior)
    check_targets(likelihood, y)
    told_of_probabilities(network, likelihood, x)
    check_unpadded(network, "optimum", x)
    like = {name: p.detach() for name, p in named_parameters(network).items()}
    size = sum(t.numel() for t in like.values())
    if size > LARGEST:
        raise ValueError(
            f"model must have at most {LARGEST} parameters, got {size}, whose curvature is a matrix; use "
            "bayessgd.snapshots, or SWAG and bayessgd.calibrate"
        )
    laws = {"likelihood": likelihood, "prior": prior, "num_data": len(x)}

    def loss(flat: Tensor) -> Tensor:
        return mean_negative_log_joint(network, unflatten(flat, like), x, y, **laws)

    with evaluating(network):
        theta, A, steps = _newton(loss, flatten(like), len(x), check_count(max_iterations, "max_iterations"))
        found = {name: t.clone() for name, t in unflatten(theta, like).items()}

        def datum(output: Tensor, target: Tensor) -> Tensor:
            return -likelihood.log_prob(output, target)

        C = gradient_noise(network, datum, x, y, params=found, correction=0, chunk_size=chunk_size).covariance
    at = Optimum(network, x, y, likelihood, prior, found, A, C, passes=steps * (size + 1))
    _tell_of_rounding(at, theta)
    return at


def _newton(loss: Callable[[Tensor], Tensor], theta: Tensor, n: int, most: int) -> tuple[Tensor, Tensor, int]:
    """Return θ*, the Hessian there and how many of them were made."""
    # Its convergence is quadratic: after a step of 1e-6 of the posterior's width the next is rounding.
    enough = 1e-6 if theta.dtype == torch.float64 else 1e-3
    hidden, length = 0, 0.0
    for steps in range(1, most + 1):
        A, gradient, value = _hessian(loss, theta), grad(loss)(theta), loss(theta)
        if not all(bool(t.isfinite().all()) for t in (A, gradient, value)):
            raise ValueError(
                f"model must have finite derivatives and a finite loss where the search stands, got none (parameters "
                f"up to {float(theta.abs().max()):.3g}, {theta.dtype}); start nearer to the data, or scale them"
            )
        step, definite = _descent(A, gradient)
        slope = float(step @ gradient)
        length, lowered = (n * max(slope, 0.0)) ** 0.5, slope / 2
        if definite and length <= enough:
            return theta, A, steps
        seen = 8 * torch.finfo(theta.dtype).eps * max(abs(float(value)), 1.0)
        hidden += lowered <= seen
        if hidden > HIDDEN:
            raise ValueError(
                f"model must have an optimum that {theta.dtype} sees, but rounding hides it, {length:.2g} of the "
                f"posterior's widths away; {_wider(theta.dtype)}"
            )
        theta = theta - (step if lowered <= seen else _shortened(loss, theta, step, slope) * step)
    raise ValueError(
        f"model must have an optimum within max_iterations={most} Newton steps, the last was {length:.2g} of the "
        f"posterior's widths; take a prior that is not flat, start nearer to it, or {_wider(theta.dtype)}"
    )


def _hessian(loss: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    try:
        with elementary(), quietly():
            return hessian(loss)(theta)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, NotImplementedError) as error:
        loss(theta)  # where the model itself is at fault, it says so better
        raise ValueError(
            "model must run under vmap and forward-mode differentiation for its curvature, got one that does not: "
            f"{str(error).strip().splitlines()[0]}; use bayessgd.snapshots or reference.nuts"
        ) from error


def _descent(A: Tensor, gradient: Tensor) -> tuple[Tensor, bool]:
    """Return |A|⁻¹g and whether A is positive definite."""
    scale = A.diagonal().abs().clamp(min=torch.finfo(A.dtype).tiny).rsqrt()
    values, vectors = torch.linalg.eigh(scale[:, None] * A * scale)
    floor = len(A) * torch.finfo(A.dtype).eps * values.abs().max()
    step = scale * (vectors @ ((vectors.mT @ (scale * gradient)) / values.abs().clamp(min=floor)))
    return step, float(values[0]) > float(floor)


def _shortened(loss: Callable[[Tensor], Tensor], theta: Tensor, step: Tensor, slope: float) -> float:
    """Return the first of 1, ½, ¼ … that lowers the loss by a ten-thousandth of what the slope promises."""
    start, factor = float(loss(theta)), 1.0
    for _ in range(60):
        reached = float(loss(theta - factor * step))
        if reached <= start - 1e-4 * factor * slope:  # False for NaN
            return factor
        factor /= 2
    raise ValueError(
        f"model must have a loss that {theta.dtype} resolves, but no step lowers its {start:.6g}, although the slope "
        f"is {slope:.3g}; {_wider(theta.dtype)}"
    )


def _wider(dtype: torch.dtype) -> str:
    if dtype == torch.float64:
        return "centre and scale the features"
    return "use float64: model.double(), x.double(), y.double()"


def _tell_of_rounding(at: Optimum, theta: Tensor) -> None:
    if theta.dtype == torch.float64:
        return
    eps = torch.finfo(theta.dtype).eps
    scale = at.curvature.diagonal().rsqrt()
    condition = float(torch.linalg.cond(scale[:, None] * at.curvature.double() * scale))
    narrow = float((theta.abs() * eps / at.covariance.diagonal().sqrt()).max())
    if condition * eps > 1e-3 or narrow > 1e-2:
        warn(
            "digits",
            f"{theta.dtype} leaves few digits of this posterior: its correlations have the condition {condition:.2g}, "
            f"and rounding is up to {narrow:.2g} of a standard deviation; {_wider(theta.dtype)}",
        )
