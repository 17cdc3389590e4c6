"""Weighted clouds: Σ_i a_i δ(x_i) in place of (1/n) Σ_i δ(x_i), with a ≥ 0 and Σ_i a_i = 1.

Two readings of a weight give one distribution, and different estimates of what lies behind it. For
*multiplicities* a_i = c_i/N, where x_i occurs c_i times among N, whatever is a mean over all pairs (a V-statistic) is
that of the repeated points. For *weights of independent points* (importance, a survey's design), which say nothing
about repetition, what leaves a point's pair with itself out is unbiased with

    Σ_{i≠j} a_i a_j h(x_i, x_j) / (1 − Σ_i a_i²)      in place of      Σ_{i≠j} h(x_i, x_j) / n(n − 1),

since Σ_{i≠j} a_i a_j = 1 − Σ a_i²; so is the covariance with that denominator (the "reliability weights" of GSL and of
numpy's `cov(aweights=)`). Weights that depend on the points leave it a bias of O(1/n). 1/Σ a_i² is the effective
number of points (Kish 1965): n for equal weights, 1 where one point has all.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_weights

__all__ = ["apart", "weighted"]


def weighted(
    cloud: Float[Tensor, "n d"], weights: object, name: str, *, least: int = 1
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"] | None]:
    """Return a cloud and its weights in float64, which sum to one; None stays None.

    Points without weight are left out, but where a gradient flows to the weights: their slopes are not zero.

    Raises:
        TypeError, ValueError: What is no weights; weight on fewer than `least` points.

    >>> weighted(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([1.0, 0.0, 3.0]), "weights_x")
    (tensor([[1.],
            [3.]]), tensor([0.2500, 0.7500], dtype=torch.float64))
    """
    if weights is None:
        return cloud, None
    w = check_weights(weights, cloud, name).double()
    w = w / w.sum()
    kept = w.detach() > 0
    count = int(kept.sum())
    if count < least:
        raise ValueError(f"{name} must leave weight on at least {least} points, got {count}; weigh more")
    if count == len(w) or (w.requires_grad and torch.is_grad_enabled()):
        return cloud, w
    return cloud[kept], w[kept]


def apart(weights: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """Return 1 − Σ a_i² = 2 Σ_{i<j} a_i a_j, the weight of all pairs of two points: a sum in which nothing cancels.

    >>> apart(torch.tensor([0.5, 0.5]))
    tensor(0.5000)
    """
    before = weights.cumsum(-1)[..., :-1]
    return 2 * (weights[..., 1:] * before).sum(-1)
