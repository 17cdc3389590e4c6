"""Forecasts in bins: what calibration and the decomposition of Brier's score both stand on.

Probabilities p of an event and its outcomes h ∈ {0, 1} fall into bins by p. A bin b holds n_b of them, with mean
forecast p̄_b and observed frequency h̄_b; the forecasts are calibrated where the two agree.

Bins are closed on the right, ((b − 1)/B, b/B], as in Guo et al. (2017), and 0 belongs to the first one: a forecast
of exactly 1 lies in the last. *Equal-mass* bins instead end at the order statistics x_(⌈bn/B⌉) of the forecasts
themselves; equal forecasts always share a bin, so the result does not depend on the order of the data, and bins
between equal quantiles stay empty.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

__all__ = [
    "BinnedForecasts",
    "bin_forecasts",
    "bin_index",
    "binomial_stderr",
    "equal_mass_edges",
    "equal_width_edges",
]


@dataclass(frozen=True)
class BinnedForecasts:
    """What each bin of each of k events holds; float64.

    Attributes:
        edges: Ends of the bins from 0 to 1, [bins + 1, k].
        index: The bin of every forecast, [n, k].
        count: How many forecasts a bin holds, n_b, [bins, k].
        forecast: Mean forecast p̄_b, [bins, k]; 0 in an empty bin.
        frequency: Observed frequency h̄_b, [bins, k]; 0 in an empty bin.
    """

    edges: Float[Tensor, "edges k"]
    index: Int64[Tensor, "n k"]
    count: Float[Tensor, "bins k"]
    forecast: Float[Tensor, "bins k"]
    frequency: Float[Tensor, "bins k"]


def bin_forecasts(
    forecasts: Float[Tensor, "n k"], outcomes: Float[Tensor, "n k"], *, bins: int, adaptive: bool
) -> BinnedForecasts:
    """Return the bins of k events' forecasts, each event by itself.

    Args:
        forecasts: Probabilities, [n, k].
        outcomes: 1 where the event came, 0 where not, [n, k].
        bins: The number B of bins.
        adaptive: Bins of equal mass instead of equal width.

    >>> p, h = torch.tensor([[0.2], [0.4], [1.0]]), torch.tensor([[0.0], [1.0], [1.0]])
    >>> bin_forecasts(p, h, bins=2, adaptive=False).count[:, 0]
    tensor([2., 1.], dtype=torch.float64)
    """
    edges = (equal_mass_edges if adaptive else equal_width_edges)(forecasts, bins)
    index = bin_index(forecasts, edges)
    ones = torch.ones_like(forecasts, dtype=torch.float64)
    count = _bin_sums(ones, index, bins)
    some = count.clamp(min=1)
    return BinnedForecasts(
        edges=edges.double(),
        index=index,
        count=count,
        forecast=_bin_sums(forecasts.double(), index, bins) / some,
        frequency=_bin_sums(outcomes.double(), index, bins) / some,
    )


def equal_width_edges(forecasts: Float[Tensor, "n k"], bins: int) -> Float[Tensor, "edges k"]:
    """Return the edges 0, 1/B, …, 1, the same for each of k events, in the forecasts' type.

    A division of whole numbers is the float nearest to b/B, which a forecast written as b/B equals.

    >>> equal_width_edges(torch.zeros(3, 1), 4)[:, 0]
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    steps = torch.arange(bins + 1, dtype=forecasts.dtype, device=forecasts.device) / bins
    return steps[:, None].expand(-1, forecasts.shape[1])


def equal_mass_edges(forecasts: Float[Tensor, "n k"], bins: int) -> Float[Tensor, "edges k"]:
    """Return edges at the order statistics ⌈bn/B⌉ of each event's forecasts, 0 and 1 at the ends.

    >>> equal_mass_edges(torch.tensor([[0.1], [0.2], [0.7], [0.9]]), 2)[:, 0]
    tensor([0.0000, 0.2000, 1.0000])
    """
    n = len(forecasts)
    ordered = forecasts.sort(0).values
    last = [-(-b * n // bins) - 1 for b in range(1, bins)]
    zero, one = torch.zeros_like(ordered[:1]), torch.ones_like(ordered[:1])
    return torch.cat([zero, ordered[last], one])


def bin_index(forecasts: Float[Tensor, "n k"], edges: Float[Tensor, "edges k"]) -> Int64[Tensor, "n k"]:
    """Return the bin of every forecast, from 0: the number of inner edges strictly below it.

    >>> bin_index(torch.tensor([[0.0], [0.5], [0.6], [1.0]]), torch.tensor([[0.0], [0.5], [1.0]]))[:, 0]
    tensor([0, 0, 1, 1])
    """
    inner = edges[1:-1].T.contiguous()
    return torch.searchsorted(inner, forecasts.T.contiguous()).T


def binomial_stderr(successes: Float[Tensor, "*s"], count: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Return √(p̃(1 − p̃)/(n + 4)), p̃ = (s + 2)/(n + 4): a share's standard error that is never 0.

    Agresti & Coull (1998), "Approximate is better than exact for interval estimation of binomial
    proportions": √(p(1 − p)/n) claims certainty after one success in one trial.

    >>> binomial_stderr(torch.tensor([1.0, 80.0]), torch.tensor([1.0, 100.0]))
    tensor([0.2191, 0.0400])
    """
    share = (successes + 2) / (count + 4)
    return (share * (1 - share) / (count + 4)).sqrt()


def _bin_sums(values: Tensor, index: Tensor, bins: int) -> Tensor:
    """The sums of the values in each bin, [bins, k]."""
    k = values.shape[1]
    if values.device.type == "cpu":
        slot = index + bins * torch.arange(k)
        return torch.bincount(slot.flatten(), values.flatten(), minlength=bins * k).reshape(k, bins).T
    # A pass per bin: scattered additions would round in another order at every run on a GPU.
    return torch.stack([values.where(index == b, 0.0).sum(0) for b in range(bins)])
