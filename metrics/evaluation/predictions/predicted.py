"""What a regression predicts, whichever way it is told: draws of the target, or a distribution with a density.

Draws are a tensor [samples, n] or [samples, n, d] of the *target*, noise included. A
`torch.distributions.Distribution` whose shape is that of y predicts with one distribution per point; with one more
dimension in front it is a mixture over posterior samples. Network outputs [samples, n, ...] become such a mixture
by a likelihood, a function from outputs to a distribution.

Scores of a mixture that need draws (CRPS, energy score, intervals, W₁) take some 600 of them by quasi-Monte-Carlo:
draw m belongs to sample m mod S, at the quantile frac(½ + m α_k) of output k, α Roberts's generalised golden
ratios. Draws are spread over samples and quantiles at once, the same at every point and every call; a distribution
without `icdf` is sampled with seed 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from metrics.inputs import check_tensor
from metrics.predictions.quantiles import pit_values

__all__ = ["Predicted", "predicted"]

DRAWS = 600

Likelihood = Callable[[Tensor], Distribution]


@dataclass(frozen=True)
class Predicted:
    """A prediction of n points with d outputs.

    Attributes:
        draws: Of the target, [M, n, d], float64.
        samples: S, or the number of draws.
        shape: Of y.
        density: The S distributions of every point, over [S, *shape]; None where only draws are known.
        flat: Whether they lie end to end, over [S·n, ...], as a likelihood gives them.
    """

    draws: Tensor
    samples: int
    shape: tuple[int, ...]
    density: Distribution | None = None
    flat: bool = False

    def log_density(self, y: Tensor) -> Tensor:
        """Return ln p(y) of the mixture, [n]; it needs a density."""
        assert self.density is not None
        each = self.density.log_prob(self._targets(y)).double()
        # Outputs are independent where the distribution's event does not hold them all.
        joint = each.reshape(self.samples, self.shape[0], -1).sum(2)
        return joint.logsumexp(0) - math.log(self.samples)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of every output, [n, d] each: exact where distributions tell theirs."""
        if self.density is None:
            return self.draws.mean(0), self.draws.std(0)
        shape = (self.samples, self.shape[0], -1)
        try:
            each, variance = (v.double().reshape(shape) for v in (self.density.mean, self.density.variance))
        except NotImplementedError:
            return self.draws.mean(0), self.draws.std(0)
        return each.mean(0), (variance.mean(0) + each.var(0, correction=0)).sqrt()

    def pit(self, y: Tensor) -> Tensor:
        """Return F(y) of every output, [n, d]: exact where the distributions have a `cdf`, else from draws."""
        flat = y.double().reshape(len(y), -1)
        try:
            base = None if self.density is None else _base(self.density)
            if base is None:
                return pit_values(self.draws, flat)
            return base.cdf(self._targets(y)).double().reshape(self.samples, *flat.shape).mean(0)
        except NotImplementedError:
            return pit_values(self.draws, flat)

    def _targets(self, y: Tensor) -> Tensor:
        """The outcomes as the distributions take it: in their type, once per sample where they lie end to end."""
        assert self.density is not None
        like = y.to(self.density.mean.dtype)
        return like.repeat(self.samples, *[1] * (y.ndim - 1)) if self.flat else like


def predicted(value: object, y_shape: tuple[int, ...], likelihood: Likelihood | None, name: str) -> Predicted:
    """Return a prediction of outcomes of this shape, refusing what is none."""
    if isinstance(value, tuple) and len(value) == 2:
        value = _normal(value, y_shape, name)
    if isinstance(value, Distribution):
        return _from_density(value, y_shape, name)
    if likelihood is not None:
        outputs = check_tensor(
            value,
            name,
            shape="[samples, n, ...] of network outputs",
            ndim=max(2, getattr(value, "ndim", 2)),
        )
        _check_points(outputs.shape, y_shape, name)
        density = likelihood(outputs.detach().flatten(0, 1))
        return _from_density(density, y_shape, name, samples=len(outputs))
    if getattr(value, "shape", None) == torch.Size(y_shape):
        raise ValueError(
            f"{name} must hold draws of the target, [samples, {', '.join(map(str, y_shape))}], got the shape of y, "
            f"{list(y_shape)}; a mean alone has no spread: pass the pair (mean, std), or network outputs "
            "[samples, n, ...] with likelihood="
        )
    draws = check_tensor(
        value, name, shape=f"[samples, {', '.join(map(str, y_shape))}]", ndim=len(y_shape) + 1
    )
    if draws.shape[1:] != y_shape:
        swapped = draws.transpose(0, 1).shape[1:] == torch.Size(y_shape)
        remedy = f"samples come first: pass {name}.transpose(0, 1)" if swapped else "predict the same inputs"
        raise ValueError(
            f"{name} must hold draws of y's {list(y_shape)} after the first dimension, got {list(draws.shape)}; "
            f"{remedy}"
        )
    if len(draws) < 2:
        raise ValueError(
            f"{name} must hold at least 2 draws of the target, got 1; for a single network's outputs pass likelihood="
        )
    flat = draws.detach().double().reshape(len(draws), y_shape[0], -1)
    return Predicted(flat, len(draws), y_shape)


def _normal(value: tuple[object, ...], y_shape: tuple[int, ...], name: str) -> Distribution:
    mean, std = (
        check_tensor(
            part, f"{name}'s {kind}", shape=f"{list(y_shape)}", ndim=max(1, getattr(part, "ndim", 1))
        )
        for part, kind in zip(value, ("mean", "std"), strict=True)
    )
    least = float(std.min())
    if least <= 0:
        raise ValueError(
            f"{name}'s std must be above 0, got a minimum of {least:.3g}; pass (mean, std), not logs or variances"
        )
    return torch.distributions.Normal(mean.double(), std.double(), validate_args=False)


def _from_density(
    density: Distribution, y_shape: tuple[int, ...], name: str, samples: int | None = None
) -> Predicted:
    """A prediction by distributions over y's shape, over [samples, ...] of it, or end to end given `samples`."""
    shape = (*density.batch_shape, *density.event_shape)
    flat = samples is not None
    if samples is None:
        ahead = len(shape) - len(y_shape)
        if ahead == 0:
            density, samples = density.expand(torch.Size((1, *density.batch_shape))), 1
        else:
            samples = shape[0] if ahead == 1 else 0
        fits = samples > 0 and shape[max(ahead, 0) :] == y_shape
    else:
        fits = shape == (samples * y_shape[0], *y_shape[1:])
    if not fits:
        told = [samples, shape[0] // max(samples, 1), *shape[1:]] if flat else list(shape)
        raise ValueError(
            f"{name} must be distributed over y's shape {list(y_shape)}, or over [samples, ...] of it, got "
            f"{told}; give y the shape of the network's output, or the outputs that of y"
        )
    return Predicted(_drawn(density, samples, y_shape, flat=flat), samples, y_shape, density, flat)


def _drawn(density: Distribution, samples: int, y_shape: tuple[int, ...], *, flat: bool) -> Tensor:
    """Draws [samples · each, n, d]."""
    n, d, each = y_shape[0], math.prod(y_shape[1:]), max(2, math.ceil(DRAWS / samples))
    m = torch.arange(each * samples, dtype=torch.float64).reshape(each, samples, 1)
    level = torch.frac(0.5 + m * _golden(d)).reshape(each, samples, 1, *y_shape[1:])
    level = level.expand(each, samples, *y_shape)
    try:
        base = _base(density)
        x = base.icdf((level.flatten(1, 2) if flat else level).to(density.mean))
    except NotImplementedError:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            x = density.sample(torch.Size((each,)))
    return x.detach().double().reshape(each * samples, n, d)


def _golden(d: int) -> Tensor:
    """1/φ, …, 1/φ^d with φ^{d+1} = φ + 1 (Roberts 2018): multiples of them fill the cube evenly."""
    phi = 2.0
    for _ in range(60):
        phi = (1 + phi) ** (1 / (d + 1))
    return phi ** -torch.arange(1, d + 1, dtype=torch.float64)


def _base(part: Distribution) -> Distribution:
    """What is independent over its dimensions, without the wrapper, which has neither `cdf` nor `icdf`."""
    while isinstance(part, Independent):
        part = part.base_dist
    if part.event_shape:
        raise NotImplementedError
    return part


def _check_points(shape: torch.Size, y_shape: tuple[int, ...], name: str) -> None:
    if shape[1] != y_shape[0]:
        told = (
            "samples come first: pass it transposed" if shape[0] == y_shape[0] else "predict the same inputs"
        )
        raise ValueError(f"{name} must predict the {y_shape[0]} points of y, got {shape[1]}; {told}")
