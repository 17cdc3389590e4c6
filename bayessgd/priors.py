r"""Priors: distributions over a network's parameters.

A prior is an object with `log_prob(params)`, where `params` maps names to tensors, as
`torch.func.functional_call` takes them. It returns a 0-dim tensor, normalised where the prior is proper, so
that evidences can be compared. Under `vmap` over chains or draws it sees one of them at a time.

    Gaussian     log p(θ) = Σ_k ½ log(λ_k / 2π) − ½ λ_k (θ_k − μ)²,   λ the precision, one over the variance

An optimizer's `weight_decay` w, which adds w θ to the gradient of the mean loss, is a Gaussian prior of
precision N·w and mean zero. Next to a prior of the library it would be a second one; `check_no_weight_decay`
refuses the pair.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from bayessgd._densities import log_density
from metrics.inputs import check_generator, check_number, check_positive

__all__ = ["ElementwisePrior", "FlatPrior", "GaussianPrior", "Prior", "check_no_weight_decay", "check_params"]


@runtime_checkable
class Prior(Protocol):
    """What the library asks of a prior."""

    def log_prob(self, params: Mapping[str, Tensor]) -> Tensor:
        """Return log p(θ) as a 0-dim tensor."""
        ...


@dataclass(frozen=True)
class GaussianPrior:
    """θ_k ~ N(mean, 1/precision), independently.

    Args:
        precision: λ, one number for all parameters or a mapping from each parameter's name to its own.
        mean: μ, one number for all or a mapping from each parameter's name to its own: a number, or a tensor of its
            shape, a mean per coefficient. (A precision per coefficient: `NamedPriors`.)

    Raises:
        TypeError, ValueError: If a precision is not a finite number above zero, or the mean not a finite
            number.

    >>> import torch
    >>> GaussianPrior(precision=1.0).log_prob({"w": torch.zeros(2)})  # −log 2π
    tensor(-1.8379)
    """

    precision: float | int | Mapping[str, float | int]
    mean: float | int | Mapping[str, float | int | Tensor] = 0.0

    def __post_init__(self):
        if isinstance(self.precision, Mapping):
            for name, value in self.precision.items():
                check_positive(value, f"precision[{name!r}]")
        else:
            check_positive(self.precision, "precision")
        if isinstance(self.mean, Mapping):
            for name, value in self.mean.items():
                _check_mean(value, f"mean[{name!r}]", tensors=True)
        else:
            _check_mean(self.mean, "mean", tensors=False)

    def precision_of(self, name: str) -> float:
        """Return λ of one parameter, refusing a name that the mapping lacks."""
        if not isinstance(self.precision, Mapping):
            return float(self.precision)
        if name not in self.precision:
            raise ValueError(
                f"precision must name every parameter, got none for {name!r}; it has {sorted(self.precision)}"
            )
        return float(self.precision[name])

    def mean_of(self, name: str, like: Tensor) -> float | Tensor:
        """Return μ of one parameter, refusing a name that the mapping lacks and a tensor of another shape."""
        if not isinstance(self.mean, Mapping):
            return float(self.mean)
        if name not in self.mean:
            raise ValueError(
                f"mean must name every parameter, got none for {name!r}; it has {sorted(self.mean)}"
            )
        value = self.mean[name]
        if not isinstance(value, Tensor):
            return float(value)
        if value.ndim and value.shape != like.shape:  # under `vmap` a look at one draw
            raise ValueError(
                f"mean[{name!r}] must have the shape {list(like.shape)} of its parameter, got {list(value.shape)}"
            )
        return value.to(like)

    def log_prob(self, params: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Return log p(θ), normalised, a 0-dim tensor."""
        check_params(params)
        terms = []
        for name, value in params.items():
            precision = self.precision_of(name)
            constant = value.numel() / 2 * math.log(precision / (2 * math.pi))
            terms.append(constant - precision / 2 * (value - self.mean_of(name, value)).square().sum())
        return torch.stack(terms).sum()

    def sample(
        self, params: Mapping[str, Tensor], *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Draw θ from the prior, in the shapes and types of `params`.

        >>> import torch
        >>> GaussianPrior(4.0).sample({"w": torch.zeros(3)})["w"].shape
        torch.Size([3])
        """
        check_params(params)
        check_generator(generator)
        draws = {}
        for name, value in params.items():
            z = torch.randn(value.shape, dtype=value.dtype, device=value.device, generator=generator)
            draws[name] = self.mean_of(name, value) + z / math.sqrt(self.precision_of(name))
        return draws


@dataclass(frozen=True)
class ElementwisePrior:
    """Every parameter has the same univariate law, independently: any `torch.distributions` object.

    Args:
        distribution: A scalar distribution, such as `torch.distributions.Laplace(0.0, 1.0)`, on the
            parameters' device.

    Raises:
        TypeError, ValueError: If it is not a distribution, or not one of scalars.

    >>> import torch
    >>> laplace = torch.distributions.Laplace(0.0, 1.0)
    >>> ElementwisePrior(laplace).log_prob({"w": torch.ones(1)})  # −1 − log 2
    tensor(-1.6931)
    """

    distribution: Distribution

    def __post_init__(self):
        if not isinstance(self.distribution, Distribution):
            kind = type(self.distribution).__name__
            raise TypeError(f"distribution must be a torch.distributions.Distribution, got {kind}")
        if self.distribution.batch_shape or self.distribution.event_shape:
            shape = list(self.distribution.batch_shape + self.distribution.event_shape)
            raise ValueError(f"distribution must be one of scalars, with shape [], got {shape}")

    def log_prob(self, params: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Return log p(θ), normalised, a 0-dim tensor."""
        check_params(params)
        terms = [log_density(self.distribution, value, "distribution").sum() for value in params.values()]
        return torch.stack(terms).sum()


@dataclass(frozen=True)
class FlatPrior:
    """p(θ) ∝ 1: improper, so that the posterior is the normalised likelihood, where that exists.

    Flat in θ as it is: for `LearnedScale`, whose parameter is log σ, that is p(σ) ∝ 1/σ, Jeffreys' prior and not a flat
    one. Flat in σ is `NamedPriors({"log_scale": LogScalePrior(), "*": FlatPrior()})`.

    >>> import torch
    >>> FlatPrior().log_prob({"w": torch.ones(3)})
    tensor(0.)
    """

    def log_prob(self, params: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Return zero."""
        check_params(params)
        return next(iter(params.values())).new_zeros(())


def _check_mean(value: object, name: str, *, tensors: bool) -> None:
    if isinstance(value, Tensor) and tensors:
        if not (value.is_floating_point() and bool(value.isfinite().all())):
            raise ValueError(f"{name} must be a finite floating tensor, got NaN, infinity or {value.dtype}")
        return
    if not math.isfinite(check_number(value, name)):
        raise ValueError(f"{name} must be finite, got {value}")


def check_no_weight_decay(optimizer: torch.optim.Optimizer, prior: Prior | None) -> None:
    """Refuse an optimizer whose weight decay would be a second prior.

    Args:
        optimizer: Any torch optimizer.
        prior: The prior of the loss; with `None` or `FlatPrior()` weight decay is the only prior, and
            allowed.

    Raises:
        ValueError: If a parameter group has a weight decay and the prior is not flat.

    >>> import torch
    >>> sgd = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1, weight_decay=0.01)
    >>> check_no_weight_decay(sgd, FlatPrior())
    >>> check_no_weight_decay(sgd, GaussianPrior(1.0))
    Traceback (most recent call last):
    ValueError: optimizer must have weight_decay=0 next to a prior, got 0.01 in group 0, ...
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
    if prior is None or isinstance(prior, FlatPrior):
        return
    for index, group in enumerate(optimizer.param_groups):
        decay = group.get("weight_decay", 0)
        if decay:
            raise ValueError(
                f"optimizer must have weight_decay=0 next to a prior, got {decay} in group {index}, which is "
                f"a second Gaussian prior of precision {decay}·num_data; fold it into "
                f"{type(prior).__name__} or use FlatPrior()"
            )


def check_params(params: Mapping[str, Tensor]) -> None:
    """Refuse what is no mapping from names to tensors, or an empty one."""
    if not isinstance(params, Mapping):
        kind = type(params).__name__
        raise TypeError(f"params must map names to tensors, got {kind}; use dict(model.named_parameters())")
    if not params:
        raise ValueError("params must not be empty; pass dict(model.named_parameters())")
