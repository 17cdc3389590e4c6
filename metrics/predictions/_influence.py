"""Areas under curves of ranks, each with what every point adds to its error.

A number θ of weighted points has the *influence* ψ_i of each of them, and the standard error √Σ_i s_i², s_i = w_i ψ_i
with weights that sum to 1. That of the difference of two numbers of the same points is the root of Σ_i (s_i − s'_i)².
"""

import math

import torch
from torch import Tensor

__all__ = ["auroc_influence", "risk_coverage_influence"]


def auroc_influence(
    low: Tensor, high: Tensor, w_low: Tensor, w_high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return P(high > low) + ½ P(=) and the terms s of its error, DeLong's; weights sum to 1 in either set."""
    below, above = _share_below(low, high, w_low), 1 - _share_below(high, low, w_high)
    value = (w_high * below).sum()
    return value, _unbiased(low) * w_low * (above - value), _unbiased(high) * w_high * (below - value)


def risk_coverage_influence(confidence: Tensor, loss: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the area under the risk-coverage curve and the terms s of its error; weights sum to 1.

    The curve is R(c) = Σ_{c_j ≥ c} w_j l_j / Σ_{c_j ≥ c} w_j and the area Σ_i w_i R(c_i). Points of one confidence
    come in any order: each has the mean loss of them all.
    """
    order = confidence.argsort(descending=True, stable=True)
    w, raw = weight[order], loss[order]
    _, tie, size = confidence[order].unique_consecutive(return_inverse=True, return_counts=True)

    def pooled(values: Tensor) -> Tensor:
        """Averaged over the points of one confidence, by weight."""
        total = torch.zeros(len(size), dtype=w.dtype, device=w.device)
        mass = total.index_add(0, tie, w).clamp(min=torch.finfo(w.dtype).tiny)
        return (total.index_add(0, tie, w * values) / mass)[tie]

    mean = pooled(raw)
    covered = w.cumsum(0).clamp(min=torch.finfo(w.dtype).tiny)
    risk = (w * mean).cumsum(0) / covered
    value = (w * risk).sum()
    share, spent = w / covered, w * risk / covered
    later, paid = (v.sum() - v.cumsum(0) + v for v in (share, spent))
    terms = w * (pooled(risk) - value + raw * pooled(later) - pooled(paid))
    scattered = torch.empty_like(terms)
    scattered[order] = terms * _unbiased(terms)
    return value, scattered


def _unbiased(points: Tensor) -> float:
    n = len(points)
    return math.sqrt(n / (n - 1)) if n > 1 else math.nan


def _share_below(others: Tensor, at: Tensor, weight: Tensor) -> Tensor:
    """For each of `at` the weight of the others that lie below; that of equal ones counts ½."""
    ordered, order = others.sort()
    mass = torch.cat([weight.new_zeros(1), weight[order].cumsum(0)])
    at = at.contiguous()
    return (mass[torch.searchsorted(ordered, at)] + mass[torch.searchsorted(ordered, at, right=True)]) / 2
