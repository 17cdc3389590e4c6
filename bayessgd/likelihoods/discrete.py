r"""Likelihoods of classes: one of many, or yes and no.

    Categorical()   y ~ softmax(f): labels int64, or soft labels q with Σ_k q_k log softmax(f)_k
    Bernoulli()     y ~ sigmoid(f): y in {0, 1}, or a probability q with q log σ(f) + (1 − q) log(1 − σ(f))

Both take logits, so that nothing overflows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributions import Bernoulli as BernoulliLaw
from torch.distributions import Categorical as CategoricalLaw
from torch.distributions import Distribution, Independent

from bayessgd.likelihoods._shapes import check_output, check_same_shape, check_target, summed
from metrics.inputs import check_positive

__all__ = ["Bernoulli", "Categorical"]


@dataclass(frozen=True)
class Categorical:
    """y ~ softmax(output), one label `[n, ...]` for each vector of an output `[n, ..., classes]`.

    Args:
        ignore_index: Positions with this label are left out, as `torch.nn.functional.cross_entropy` leaves them out.
        class_weights: w, one number above zero per class: a label k counts w_k times its log-likelihood. With weights
            it is no likelihood of the labels any more, but of labels seen w_k times each.
        class_dim: Where the output has its classes: −1, or 1 for maps `[n, classes, height, width]`.

    Raises:
        TypeError, ValueError: Arguments that are not as above.

    >>> import torch
    >>> logits = torch.tensor([[0.0, 0.0]])
    >>> Categorical().log_prob(logits, torch.tensor([1]))  # −log 2
    tensor([-0.6931])
    >>> Categorical().log_prob(logits, torch.tensor([[0.3, 0.7]]))
    tensor([-0.6931])
    >>> Categorical().log_prob(torch.zeros(1, 3, 2), torch.tensor([[0, 1, -100]]))  # the last is padding
    tensor([-1.3863])
    """

    ignore_index: int = -100
    class_weights: Sequence[float] | Tensor | None = None
    class_dim: int = -1

    def __post_init__(self):
        for name in ("ignore_index", "class_dim"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, got {type(value).__name__}")
        if self.class_weights is not None:
            if not isinstance(self.class_weights, Tensor | Sequence | np.ndarray) or isinstance(
                self.class_weights, str
            ):
                raise TypeError(
                    "class_weights must be numbers, one for each class in their order, got "
                    f"{type(self.class_weights).__name__}; pass a list or a tensor"
                )
            given = torch.as_tensor(self.class_weights).flatten().tolist()
            weights = tuple(check_positive(w, "class_weights") for w in given)
            object.__setattr__(self, "class_weights", weights)

    def check_targets(self, target: Tensor) -> None:
        """Refuse soft labels that are no distributions, such as several ones for one datum; rows of 0 are left out."""
        if not isinstance(target, Tensor) or not target.is_floating_point() or target.ndim < 2:
            return  # log_prob says it
        values = target.detach().double()
        sums = values.sum(self.class_dim if -target.ndim <= self.class_dim < target.ndim else -1)
        if bool((values < 0).any()) or bool(((sums - 1).abs() > 1e-2)[sums != 0].any()):
            raise ValueError(
                "y must hold labels or class probabilities for Categorical, which sum to 1, got sums from "
                f"{float(sums.min()):g} to {float(sums.max()):g} and a minimum of {float(values.min()):g}; for several "
                "labels of one datum take Bernoulli, for counts divide them by their sum and pass it by Weighted"
            )

    def __call__(self, output: Float[Tensor, "n ..."]) -> Distribution:
        """Return the distribution of the label."""
        logits = self._logits(output)
        return Independent(
            CategoricalLaw(logits=logits, validate_args=False), logits.ndim - 2, validate_args=False
        )

    def log_prob(self, output: Float[Tensor, "n ..."], target: Shaped[Tensor, "..."]) -> Float[Tensor, " n"]:
        """Return log p(target | output) of each datum `[n]`.

        Args:
            output: Logits `[n, ..., classes]`, or with their classes in `class_dim`.
            target: Labels, int64 `[n, ...]`, or class probabilities of the output's shape and type (soft
                labels).

        Raises:
            ValueError: Shapes that do not match, or a label that is neither a class nor `ignore_index`.
        """
        return summed(self.terms(output, target))

    def terms(self, output: Float[Tensor, "n ..."], target: Shaped[Tensor, "..."]) -> Float[Tensor, "n ..."]:
        """Return the log-likelihood of every label, of the labels' shape; 0 where a label is ignored."""
        logits = self._logits(output)
        check_target(target)
        logs = logits.log_softmax(-1)
        if self.class_weights is not None:
            weights = logits.new_tensor(self.class_weights)
            if len(weights) != logits.shape[-1]:
                raise ValueError(
                    f"class_weights must have one number for each of the {logits.shape[-1]} classes, got "
                    f"{len(weights)}"
                )
            logs = logs * weights
        if target.is_floating_point():
            labels = target.shape == logits.shape[:-1]
            check_same_shape(output, target, remedy="of labels pass target.long()" if labels else None)
            return (target.movedim(self.class_dim, -1) * logs).sum(-1)
        if target.dtype != torch.int64:
            raise TypeError(
                f"target must hold int64 labels or class probabilities, got {target.dtype}; "
                f"convert with target.long()"
            )
        remedy = self._remedy(output, target)
        check_same_shape(logits[..., 0], target, "the output without its classes", remedy)
        kept = target != self.ignore_index
        picked = torch.where(kept, target, 0).unsqueeze(-1)
        try:
            found = logs.gather(-1, picked).squeeze(-1)
        except (RuntimeError, IndexError) as error:
            if "out of bounds" not in str(error):
                raise
            raise ValueError(
                f"target must hold labels 0 to {logits.shape[-1] - 1}, or {self.ignore_index} where there is none, got "
                "another; pass ignore_index= if it means none"
            ) from error
        return torch.where(kept, found, 0.0)

    def _remedy(self, output: Tensor, target: Tensor) -> str | None:
        """Say how labels fit an output, where it is the classes that stand in the way."""
        if target.shape == output.shape:
            return (
                f"of one-hot labels pass target.argmax({self.class_dim}), of several labels for one datum take "
                "Bernoulli"
            )
        if self.class_dim == -1 and target.shape == output[:, 0].shape:
            return "of classes in dimension 1 take Categorical(class_dim=1)"
        return None

    def _logits(self, output: Tensor) -> Tensor:
        """Return the logits with their classes last."""
        check_output(output)
        if output.ndim < 2:
            raise ValueError(
                f"output must have shape [n, classes], got {list(output.shape)}; for one logit use Bernoulli"
            )
        dim = self.class_dim % output.ndim if -output.ndim <= self.class_dim < output.ndim else 0
        if dim == 0:
            raise ValueError(
                f"class_dim must be a dimension of the output {list(output.shape)} after the first, got "
                f"{self.class_dim}"
            )
        if output.shape[dim] < 2:
            raise ValueError(
                f"output must have at least 2 classes in dimension {self.class_dim}, got {list(output.shape)}; for one "
                "logit use Bernoulli, whose target has the output's shape"
            )
        return output.movedim(dim, -1)


@dataclass(frozen=True)
class Bernoulli:
    """y ~ sigmoid(output), independent over all dimensions; y is 0, 1 or a probability.

    >>> import torch
    >>> Bernoulli().log_prob(torch.zeros(1), torch.ones(1))  # −log 2
    tensor([-0.6931])
    """

    def check_targets(self, target: Tensor) -> None:
        """Refuse values outside [0, 1], whose "log-likelihood" has no maximum."""
        if not isinstance(target, Tensor):
            return  # log_prob says it
        low, high = (float(t) for t in target.detach().double().aminmax())
        if low < 0 or high > 1:
            raise ValueError(
                f"y must be 0, 1 or a probability for Bernoulli, got values from {low:g} to {high:g}; map two labels "
                "to 0 and 1, or take Categorical; entries without a label leave out by Weighted(Bernoulli()) and "
                "targets (y, mask)"
            )

    def __call__(self, output: Float[Tensor, "n ..."]) -> Distribution:
        """Return the distribution of the target."""
        check_output(output)
        return Independent(
            BernoulliLaw(logits=output, validate_args=False), output.ndim - 1, validate_args=False
        )

    def log_prob(self, output: Float[Tensor, "n ..."], target: Shaped[Tensor, "..."]) -> Float[Tensor, " n"]:
        """Return log p(target | output) of each datum `[n]`; the two have the same shape."""
        return summed(self.terms(output, target))

    def terms(self, output: Float[Tensor, "n ..."], target: Shaped[Tensor, "..."]) -> Float[Tensor, "n ..."]:
        """Return the log-likelihood of every entry, of the output's shape."""
        check_same_shape(output, target)
        return BernoulliLaw(logits=output, validate_args=False).log_prob(target.to(output.dtype))
