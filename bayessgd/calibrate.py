r"""The right width of a posterior, from forward passes alone.

A fit such as SWAG has a shape but no scale: how far the iterates wander depends on the learning rate, not on
the data. Let U(θ) = N·L(θ) be the negative log joint of all data, quadratic near its minimum with Hessian N·A,
and q = N(m, s·Σ). Then

    KL(q ‖ posterior) = ½ [ s·N·Tr(AΣ) − D·log s ] + const,   least at   s* = D / (N·Tr(AΣ)).

And N·Tr(AΣ) = 2·E_{θ~N(m,Σ)}[U(θ) − U(m)]: the mean excess of the loss over draws is all that one needs of the
Hessian. At s* the mean excess is D/2, as equipartition has it: ½ for each of D directions.

Beyond a quadratic this last form is the definition that is kept: `calibrate` finds the s for which draws
m + √s·δᵢ have a mean excess of D/2. The draws come in pairs m ± √s·δᵢ, so that a slope of U at m cancels. One number
sets the width and leaves the shape: a direction that the iterates hold too narrow stays so. SWAG's own ½(Σ + diag Σ)
forgets half of the correlations, for which s* pays with 2 to 5 % of the standard deviations in generalised linear
models (`benchmarks/results/calibration.md`). The number

    T = (2/D)·E[U(θ) − U(θ*)]

is the *effective temperature* of any cloud of iterates: 1 for draws of the posterior, 1/s* for a Gaussian.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vmap

from bayessgd._data import check_finite_data, check_laws, check_of_model
from bayessgd.likelihoods import Likelihood
from bayessgd.params import named_parameters
from bayessgd.posteriors import Ensemble, LowRankGaussian
from bayessgd.predict import predict
from bayessgd.priors import Prior
from metrics.chains import monte_carlo_error
from metrics.inputs import check_count

__all__ = ["Calibration", "Temperature", "calibrate", "effective_temperature", "potential"]

CLOSE = 1e-3
"""The relative error of the mean excess at which the search ends, far below its Monte-Carlo error."""


@dataclass(frozen=True)
class Calibration:
    """A posterior at its best width.

    Attributes:
        posterior: The Gaussian with its covariance multiplied by `scale`.
        scale: s*, a factor of the covariance given to `calibrate`.
        stderr: One standard error of it, from the spread over the draws.
        excess: The mean excess of U over the draws before, in nats; D/2 is a posterior's.

    >>> law = LowRankGaussian({"weight": torch.zeros(1, 1)}, {"weight": torch.ones(1, 1)}, scale=0.01)
    >>> Calibration(law, scale=0.01, stderr=0.0003, excess=50.0).posterior.marginal_variance
    {'weight': tensor([[0.0100]])}
    """

    posterior: LowRankGaussian
    scale: float
    stderr: float
    excess: float


@dataclass(frozen=True)
class Temperature:
    """An effective temperature and its standard error.

    >>> Temperature(value=4.0, stderr=0.1)
    Temperature(value=4.0, stderr=0.1)
    """

    value: float
    stderr: float


def calibrate(
    model: nn.Module,
    posterior: LowRankGaussian,
    x: Tensor,
    y: Tensor,
    *,
    likelihood: Likelihood,
    prior: Prior,
    num_data: int | None = None,
    num_samples: int = 30,
    generator: torch.Generator | None = None,
    max_iterations: int = 30,
) -> Calibration:
    """Find the factor s* of a Gaussian's covariance that brings it closest to the posterior.

    Args:
        model: The network.
        posterior: Its mean near a minimum of U; only the shape of its covariance matters.
        x: Training inputs, [N, ...], or a random part of them.
        y: Their targets.
        likelihood: From the output to the law of the target.
        prior: The law of θ.
        num_data: N, where x is a part of the data; `None` is the length of x.
        num_samples: Pairs of draws.
        generator: The randomness of the draws; `None` is torch's default generator.
        max_iterations: Searches, each a forward pass of all draws, after which it ends with a warning.

    Returns:
        The posterior at s*, with s* and its error. For a quadratic U and the exact covariance up to a factor,
        s* is unbiased up to O(1/num_samples).

    Raises:
        TypeError: Not a Gaussian posterior, or arguments that are not as above.
        ValueError: Data that are empty, not finite or of different lengths; a posterior of another network, without
            variance or with U not finite at its mean; draws at which U is no larger than at the mean: that is
            no minimum.

    >>> from bayessgd.likelihoods import Gaussian
    >>> from bayessgd.priors import FlatPrior
    >>> line = nn.Linear(1, 1, bias=False)
    >>> x, y = torch.ones(100, 1), torch.zeros(100, 1)      # the posterior is N(0, 1/100)
    >>> law = LowRankGaussian({"weight": torch.zeros(1, 1)}, {"weight": torch.ones(1, 1)})
    >>> found = calibrate(line, law, x, y, likelihood=Gaussian(1.0), prior=FlatPrior(), num_samples=2000)
    >>> 0.009 < found.scale < 0.011
    True
    """
    if not isinstance(posterior, LowRankGaussian):
        raise TypeError(
            f"posterior must be a LowRankGaussian, got {type(posterior).__name__}; fit one by SWAG"
        )
    count = check_count(num_samples, "num_samples", least=2)
    check_count(max_iterations, "max_iterations")
    if not any(bool(v.any()) for v in posterior.marginal_variance.values()):
        raise ValueError(
            "posterior must have a variance above 0 somewhere, got 0 everywhere, which no scale widens; collect "
            "iterates that move"
        )
    laws = {"likelihood": likelihood, "prior": prior, "num_data": num_data}
    mean = posterior.mean
    lowest = potential(model, {name: t[None] for name, t in mean.items()}, x, y, **laws)
    _check_lowest(lowest, "posterior's mean")
    drawn = posterior.sample(count, generator=generator)

    def excess(scale: float) -> Tensor:
        pairs = {}
        for name, t in drawn.items():
            step = math.sqrt(scale) * (t - mean[name])
            pairs[name] = torch.cat([mean[name] + step, mean[name] - step])
        return (potential(model, pairs, x, y, **laws) - lowest).unflatten(0, (2, -1)).mean(0)

    target = sum(t.numel() for t in mean.values()) / 2
    scale, first, found = _search(excess, target, max_iterations)
    # By the implicit function theorem with excess ∝ s; the pairs are independent.
    stderr = scale * float(found.std() / found.mean()) / math.sqrt(count)
    return Calibration(posterior.rescaled(posterior.scale * scale), scale, stderr, first)


def effective_temperature(
    model: nn.Module,
    iterates: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    likelihood: Likelihood,
    prior: Prior,
    optimum: Mapping[str, Tensor],
    num_data: int | None = None,
) -> Temperature:
    """Return T = (2/D)·mean(U(θₜ) − U(θ*)) over iterates.

    Args:
        model: The network.
        iterates: Such as `Trajectory(...).posterior()`; what they went through before they were stationary
            left out.
        x: Training inputs.
        y: Their targets.
        likelihood: From the output to the law of the target.
        prior: The law of θ.
        optimum: θ*, the minimum of U, by name.
        num_data: N, where x is a part of the data.

    Returns:
        T with a standard error that knows of the iterates' correlation (from 4 iterates per chain on). The
        posterior has 1; plain SGD at a learning rate ε has about ε/ε* (`theory.optimal_learning_rate`).

    Raises:
        TypeError: Not an ensemble, or arguments that are not as above.
        ValueError: An optimum of other parameters, or with U not finite there; data as in `calibrate`.

    >>> from bayessgd.likelihoods import Gaussian
    >>> from bayessgd.priors import FlatPrior
    >>> line, x = nn.Linear(1, 1, bias=False), torch.ones(100, 1)
    >>> path = Ensemble({"weight": 0.2 * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None]})
    >>> laws = {"likelihood": Gaussian(1.0), "prior": FlatPrior()}
    >>> found = effective_temperature(line, path, x, 0 * x, **laws, optimum={"weight": torch.zeros(1, 1)})
    >>> round(found.value, 3)
    4.0
    """
    if not isinstance(iterates, Ensemble):
        raise TypeError(f"iterates must be an Ensemble, got {type(iterates).__name__}; use Trajectory")
    if set(optimum) != set(iterates.draws):
        raise ValueError(f"optimum must have the names {list(iterates.draws)}, got {list(optimum)}")
    check_of_model(iterates.draws, model, "iterates", lead=1)
    check_of_model(optimum, model, "optimum")
    laws = {"likelihood": likelihood, "prior": prior, "num_data": num_data}
    lowest = potential(model, {name: t[None] for name, t in optimum.items()}, x, y, **laws)
    _check_lowest(lowest, "optimum")
    size = sum(t.numel() for t in optimum.values())
    series = (2 / size) * (potential(model, iterates.draws, x, y, **laws) - lowest)
    by_chain = series.unflatten(0, (iterates.chains, -1))
    stderr = float(monte_carlo_error(by_chain)) if by_chain.shape[1] >= 4 else math.nan
    return Temperature(float(series.mean()), 0.0 if math.isnan(stderr) and not series.std() else stderr)


@torch.no_grad()
def potential(
    model: nn.Module,
    draws: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    *,
    likelihood: Likelihood,
    prior: Prior,
    num_data: int | None = None,
    batch_size: int = 4096,
) -> Float[Tensor, " draws"]:
    """Return U(θᵢ) = −(N/n)·Σⱼ log p(yⱼ | xⱼ, θᵢ) − log p(θᵢ) of every draw, in float64 nats; n the data given.

    >>> from bayessgd.likelihoods import Gaussian
    >>> from bayessgd.priors import FlatPrior
    >>> laws = {"likelihood": Gaussian(1.0), "prior": FlatPrior()}
    >>> line, x = nn.Linear(1, 1, bias=False), torch.ones(2, 1)
    >>> potential(line, {"weight": torch.tensor([[[0.0]], [[1.0]]])}, x, x, **laws)  # log 2π + 1, log 2π
    tensor([2.8379, 1.8379], dtype=torch.float64)
    """
    check_finite_data(x, y)
    check_laws(likelihood, prior)
    n = len(x) if num_data is None else check_count(num_data, "num_data")
    check_of_model(draws, model, "posterior", lead=1)
    own = named_parameters(model)
    bank = Ensemble({name: draws[name].to(own[name]) for name in draws})
    total = torch.zeros(len(bank), dtype=torch.float64, device=x.device)
    for inputs, targets in zip(x.split(batch_size), y.split(batch_size), strict=True):
        outputs = predict(model, bank, inputs, num_samples=len(bank))
        terms = vmap(likelihood.log_prob, (0, None))(outputs, targets)
        total -= terms.double().sum(1)
    return total * (n / len(x)) - vmap(prior.log_prob)(bank.draws).double()


def _check_lowest(lowest: Tensor, name: str) -> None:
    """Refuse a point of no finite potential: every excess is counted from there."""
    if not bool(lowest.isfinite()):
        raise ValueError(
            f"{name} must have a finite potential, got U = {float(lowest)}; did the training diverge, or are "
            "targets impossible under the likelihood?"
        )


def _search(
    excess: Callable[[float], Tensor], target: float, max_iterations: int
) -> tuple[float, float, Tensor]:
    """Solve mean(excess(s)) = target by s ← s·target/mean, which converges where the mean grows as s^α, 0 < α < 2."""
    scale, found = 1.0, excess(1.0)
    first = mean = float(found.mean())
    for _ in range(max_iterations):
        if abs(mean / target - 1) < CLOSE:
            return scale, first, found
        if mean <= 0:
            raise ValueError(
                f"posterior must have its mean near a minimum of the loss, got draws whose loss is "
                f"{-mean:.3g} nats below the mean's; train on, or average a tail of the iterates only"
            )
        scale *= target / mean if math.isfinite(mean) else 0.01
        found = excess(scale)
        mean = float(found.mean())
    if not abs(mean / target - 1) < CLOSE:
        warnings.warn(
            f"the search for the scale ended after {max_iterations} passes at a mean excess of {mean:.4g} nats "
            f"against {target:g}",
            stacklevel=3,
        )
    return scale, first, found
