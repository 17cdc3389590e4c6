"""Predictions reduced as the draws come: what is kept does not grow with their number.

    "mean_probs"   (1/M) Σᵢ softmax f(x; θᵢ)              the posterior predictive distribution of classes
    "moments"      mean and variance of f(x; θᵢ) over i    the variance with M − 1
    h              (1/M) Σᵢ h(f(x; θᵢ))                    of a function of one's own

Sums are in float64; the variance is about a mean that is updated with every chunk (Chan, Golub & LeVeque 1983).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from bayessgd._inputs import wide
from bayessgd._over import warn
from bayessgd._probabilities import are_probabilities

__all__ = ["Moments", "Reduce", "reducer"]

Reduce = str | Callable[[Tensor], Tensor]
"""`"mean_probs"`, `"moments"`, or a function of outputs [draws, batch, ...] that keeps the draws first."""


@dataclass(frozen=True)
class Moments:
    """Mean and variance of predictions over the draws, each [batch, ...]; the variance with M − 1, 0 of one draw."""

    mean: Tensor
    variance: Tensor


class _Mean:
    """The mean of h(outputs) over the draws."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function, self._total, self._count, self._kind = function, None, 0, torch.float32

    def add(self, outputs: Tensor) -> None:
        found = self._function(outputs)
        if not isinstance(found, Tensor) or found.ndim == 0 or len(found) != len(outputs):
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"reduce must keep the {len(outputs)} draws first, got {got}; their mean is taken for you"
            )
        self._kind = found.dtype if found.is_floating_point() else torch.get_default_dtype()
        total = found.sum(0, dtype=torch.float64)
        self._total = total if self._total is None else self._total.add_(total)
        self._count += len(outputs)

    def result(self) -> Tensor:
        assert self._total is not None
        return (self._total / self._count).to(self._kind)


class _Moments:
    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, torch.zeros(()), torch.zeros(())
        self._kind = torch.float32

    def add(self, outputs: Tensor) -> None:
        values, n = outputs.double(), len(outputs)
        self._kind = wide(outputs[:0]).dtype
        mean = values.mean(0)
        squares = (values - mean).square().sum(0)
        if self._count:
            shift, total = mean - self._mean, self._count + n
            squares = self._squares + squares + shift.square() * (self._count * n / total)
            mean = self._mean + shift * (n / total)
        self._count, self._mean, self._squares = self._count + n, mean, squares

    def result(self) -> Moments:
        variance = self._squares / max(1, self._count - 1)
        return Moments(self._mean.to(self._kind), variance.to(self._kind))


def reducer(reduce: object) -> Callable[[], _Mean | _Moments]:
    """Return what makes an empty reduction.

    Raises:
        TypeError, ValueError: Not one of the above.
    """
    if reduce == "mean_probs":
        return lambda: _Mean(_probabilities)
    if reduce == "moments":
        return _Moments
    if callable(reduce):
        return lambda: _Mean(cast(Callable[[Tensor], Tensor], reduce))
    if isinstance(reduce, str):
        raise ValueError(f"reduce must be 'mean_probs', 'moments' or a function, got {reduce!r}")
    raise TypeError(f"reduce must be 'mean_probs', 'moments' or a function, got {type(reduce).__name__}")


def _probabilities(outputs: Tensor) -> Tensor:
    if outputs.ndim < 3 or outputs.shape[-1] < 2:
        raise ValueError(
            f"reduce='mean_probs' must have logits [batch, ..., classes] of at least 2 classes, got "
            f"{list(outputs.shape[1:])}; of one logit pass reduce=torch.sigmoid, of classes in dimension 1 "
            "reduce=lambda f: f.softmax(2)"
        )
    if are_probabilities(outputs):
        warn(
            "probabilities",
            "reduce='mean_probs' takes logits, and the model's outputs are probabilities: their softmax is taken once "
            "more; pass reduce=lambda p: p for their mean",
        )
    return wide(outputs).softmax(-1)
