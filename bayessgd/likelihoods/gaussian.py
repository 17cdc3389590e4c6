r"""Gaussian likelihoods, with a noise level that is given, predicted or learned.

    Gaussian(scale)      y ~ N(f, scale²)
    GaussianLogScale()   y ~ N(f₁, exp(f₂)²), f₁ and f₂ the halves of the output's last dimension

With a network that has 2k outputs the second is heteroscedastic regression (Nix & Weigend 1994). A global
noise level that is learned, and sampled with the weights, is a parameter like any other:
`LearnedScale(model)` appends it to a network's output.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from bayessgd.likelihoods._shapes import check_output, check_same_shape, summed
from metrics.inputs import check_count, check_positive

__all__ = ["Gaussian", "GaussianLogScale", "LearnedScale"]


@dataclass(frozen=True)
class Gaussian:
    """y ~ N(output, scale²), independently over every dimension but the first.

    Args:
        scale: The standard deviation of the noise, not its variance: a number, or a vector `[k]` (a sequence or a
            tensor) with one for each of the k outputs in the last dimension.

    Raises:
        TypeError, ValueError: If `scale` is not a finite number above zero, or several of them.

    >>> import torch
    >>> Gaussian(scale=2.0).log_prob(torch.zeros(1, 1), torch.zeros(1, 1))  # −log 2 − ½ log 2π
    tensor([-1.6121])
    >>> Gaussian(scale=(1.0, 2.0))(torch.zeros(1, 2)).stddev
    tensor([[1., 2.]])
    """

    scale: float | int | Sequence[float] | Tensor

    def __post_init__(self):
        given = self.scale
        if isinstance(given, Tensor) and given.ndim:
            given = given.tolist() if given.ndim == 1 else [given]
        if isinstance(given, Sequence) and not isinstance(given, str) and len(given):
            object.__setattr__(self, "scale", tuple(check_positive(s, "scale") for s in given))
        else:
            check_positive(self.scale, "scale")

    def __call__(self, output: Float[Tensor, "n ..."]) -> Distribution:
        """Return N(output, scale²)."""
        return Independent(self._law(output), output.ndim - 1, validate_args=False)

    def log_prob(self, output: Float[Tensor, "n ..."], target: Shaped[Tensor, "..."]) -> Float[Tensor, " n"]:
        """Return log p(target | output) of each datum `[n]`; the two have the same shape."""
        return summed(self.terms(output, target))

    def terms(self, output: Float[Tensor, "n ..."], target: Shaped[Tensor, "..."]) -> Float[Tensor, "n ..."]:
        """Return the log density of every entry, of the output's shape."""
        check_same_shape(output, target)
        law = self._law(output)
        return _log_density((target - law.loc) / law.scale, law.scale.log())

    def _law(self, output: Tensor) -> Normal:
        check_output(output)
        scale = self.scale
        if not isinstance(scale, Sequence):
            return Normal(output, torch.full_like(output, float(scale)), validate_args=False)
        if output.ndim < 2 or output.shape[-1] != len(scale):
            raise ValueError(
                f"scale must have one number for each output in the last dimension of {list(output.shape)}, got "
                f"{len(scale)}"
            )
        return Normal(output, output.new_tensor(scale).expand_as(output), validate_args=False)


@dataclass(frozen=True)
class GaussianLogScale:
    """y ~ N(mean, exp(log scale)²); an output `[n, ..., 2k]` holds k means, then k log scales.

    The target is `[n, ..., k]`. With a network that has 2k outputs the noise depends on x (heteroscedastic
    regression); with `LearnedScale` it is one learned number per output.

    >>> import torch
    >>> GaussianLogScale()(torch.tensor([[3.0, 0.0]])).mean
    tensor([[3.]])
    """

    def __call__(self, output: Float[Tensor, "n ..."]) -> Distribution:
        """Return the law of the target."""
        return Independent(self._law(output), output.ndim - 1, validate_args=False)

    def _law(self, output: Tensor) -> Normal:
        check_output(output)
        if output.ndim < 2 or output.shape[-1] % 2:
            raise ValueError(
                f"output must have shape [n, ..., 2k] for k means and k log scales, got "
                f"{list(output.shape)}; wrap the network in LearnedScale or double its outputs"
            )
        mean, log_scale = output.chunk(2, -1)
        return Normal(mean, log_scale.exp(), validate_args=False)

    def log_prob(self, output: Float[Tensor, "n ..."], target: Shaped[Tensor, "..."]) -> Float[Tensor, " n"]:
        """Return log p(target | output) of each datum `[n]`."""
        return summed(self.terms(output, target))

    def terms(self, output: Float[Tensor, "n ..."], target: Shaped[Tensor, "..."]) -> Float[Tensor, "n ..."]:
        """Return the log density of every entry of the target, of its shape."""
        law = self._law(output)
        check_same_shape(output[..., : output.shape[-1] // 2], target, "the output's means")
        log_scale = output.chunk(2, -1)[1]
        return _log_density((target - law.loc) * log_scale.neg().exp(), log_scale)


def _log_density(z: Tensor, log_scale: Tensor) -> Tensor:
    """Return log N(y; f, σ²) of z = (y − f)/σ: σ² vanishes in float32 where σ is below 1e-23."""
    return -0.5 * (z.square() + math.log(2 * math.pi)) - log_scale


class LearnedScale(nn.Module):
    """A network with a global, learned noise level: behind its output stands one log scale for every datum.

    The parameter `log_scale` `[k]` is trained and sampled like a weight, under the same prior unless the
    prior names it. It is log σ: `FlatPrior` there means p(σ) ∝ 1/σ. `LogScalePrior(law)` is a law of σ, and
    `LogScalePrior()` flat in it, by `NamedPriors({"log_scale": LogScalePrior(), "*": …})`. In the flat order of
    parameters it stands before the network's own.

    Args:
        model: A network with outputs `[n, ..., k]`.
        num_outputs: k.
        scale: The standard deviation to start from.

    Raises:
        TypeError, ValueError: If an argument is not as above.

    >>> import torch
    >>> LearnedScale(torch.nn.Linear(3, 1), scale=1.0)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(self, model: nn.Module, *, num_outputs: int = 1, scale: float | int = 1.0):
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        self.model = model
        size = check_count(num_outputs, "num_outputs")
        first = next(model.parameters(), torch.empty(0))
        self.start = check_positive(scale, "scale")
        start = torch.full((size,), self.start, dtype=first.dtype, device=first.device)
        self.log_scale = nn.Parameter(start.log())

    def reset_parameters(self) -> None:
        """Put the noise back to where it started; the network resets itself. `Chains` starts anew by this."""
        with torch.no_grad():
            self.log_scale.fill_(self.start).log_()

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return `[n, ..., 2k]` of the network's own arguments."""
        output = self.model(*args, **kwargs)
        if not isinstance(output, Tensor):
            raise TypeError(
                f"model must return one tensor for LearnedScale, got {type(output).__name__}; wrap it in a module that "
                "returns its means"
            )
        return torch.cat([output, self.log_scale.expand_as(output)], -1)
