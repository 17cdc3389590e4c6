"""Brier's score, and what it is made of: calibration, sharpness, and the difficulty of the question.

For each class k, forecasts p_i of the event y_i = k with outcomes h_i fall into bins b of mean forecast p̄_b and
observed frequency h̄_b, around the base rate h̄. Summed over the classes (Murphy 1973, with the two last terms of
Stephenson, Coelho & Jolliffe 2008, "Two extra components in the Brier score decomposition", for forecasts that
vary within a bin):

    reliability              Σ_b (n_b/n) (p̄_b − h̄_b)²       0 where calibrated; lower is better
    resolution               Σ_b (n_b/n) (h̄_b − h̄)²         what the forecasts tell apart; higher is better
    uncertainty              h̄(1 − h̄)                       the score of the base rate; no model's merit
    within_bin_variance      (1/n) Σ_i (p_i − p̄_b)²
    within_bin_covariance    (2/n) Σ_i (p_i − p̄_b)(h_i − h̄_b)

    Brier = reliability − resolution + uncertainty + within_bin_variance − within_bin_covariance,

exactly. Where all the forecasts of a bin are equal the last two are 0 and Murphy's three terms remain.

With finite n, reliability and resolution are both biased upwards by Σ_b q_b(1 − q_b)/n, q_b the true frequency in
bin b, summed over the classes (resolution less by q(1 − q)/n), and uncertainty downwards by q(1 − q)/n (Bröcker 2012;
Ferro & Fricker 2012). Fewer bins lower the bias; the score itself has none.
"""

from dataclasses import dataclass
from typing import SupportsIndex

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metrics.inputs import check_count
from metrics.precision import full_precision
from metrics.predictions._scores import Score, reduced
from metrics.predictions.binning import bin_forecasts
from metrics.probabilities import check_labels, check_probabilities

__all__ = ["BrierDecomposition", "brier_decomposition", "brier_score"]


@dataclass(frozen=True)
class BrierDecomposition:
    """The terms of Brier's score, each summed over the classes; 0-dim tensors."""

    reliability: Float[Tensor, ""]
    resolution: Float[Tensor, ""]
    uncertainty: Float[Tensor, ""]
    within_bin_variance: Float[Tensor, ""]
    within_bin_covariance: Float[Tensor, ""]

    @property
    def score(self) -> Float[Tensor, ""]:
        """Brier's score, the sum of the terms."""
        within = self.within_bin_variance - self.within_bin_covariance
        return self.reliability - self.resolution + self.uncertainty + within


@full_precision
def brier_score(
    probs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], *, per_point: bool = False
) -> Score:
    """Return Brier's score Σ_k (p_k − 1[y = k])², from 0 (certain and right) to 2 (certain and wrong).

    The sum runs over all classes (Brier 1950): for two classes that is twice the (p − y)² of one of them.
    A mean over points is unbiased. `brier_decomposition` splits it.

    Args:
        probs: Predicted probabilities, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].
        per_point: Return the n scores instead of their mean.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; labels that are not int64 or out of range.

    >>> brier_score(torch.tensor([[0.8, 0.2], [0.5, 0.5]]), torch.tensor([0, 1]), per_point=True)
    tensor([0.0800, 0.5000])
    """
    p = check_probabilities(probs).double()
    y = check_labels(labels, p)
    # Σp² − 2p_y + 1 would cancel where the prediction is nearly certain and right.
    gap = p.scatter_add(1, y[:, None], p.new_full((len(p), 1), -1))
    return reduced(gap.square().sum(1), per_point).to(probs.dtype)


@full_precision
def brier_decomposition(
    probs: Float[Tensor, "n classes"],
    labels: Int64[Tensor, " n"],
    *,
    bins: SupportsIndex = 15,
    adaptive: bool = False,
) -> BrierDecomposition:
    """Return reliability, resolution and uncertainty of Brier's score, and what bins leave within.

    Brier = reliability − resolution + uncertainty + within_bin_variance − within_bin_covariance, as
    `brier_score` sums it over the classes.

    Args:
        probs: Predicted probabilities, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].
        bins: The number of bins of each class's probability.
        adaptive: Bins of equal mass instead of equal width.

    Returns:
        Five 0-dim tensors; reliability and resolution are biased upwards, by about bins · Σ_k q_k(1 − q_k)/n at most.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; labels that are not int64 or out of range;
            fewer than one bin.

    >>> result = brier_decomposition(torch.tensor([[0.5, 0.5]] * 4), torch.tensor([0, 1, 1, 1]), bins=5)
    >>> result.reliability, result.resolution, result.uncertainty
    (tensor(0.1250), tensor(0.), tensor(0.3750))
    """
    p = check_probabilities(probs).detach()
    outcome = torch.nn.functional.one_hot(check_labels(labels, p), p.shape[1]).double()
    table = bin_forecasts(p, outcome, bins=check_count(bins, "bins"), adaptive=adaptive)
    weight, base = table.count / len(p), outcome.mean(0)
    spread = p.double() - table.forecast.gather(0, table.index)
    surprise = outcome - table.frequency.gather(0, table.index)
    terms = (
        (weight * (table.forecast - table.frequency).square()).sum(),
        (weight * (table.frequency - base).square()).sum(),
        (base * (1 - base)).sum(),
        spread.square().mean(0).sum(),
        2 * (spread * surprise).mean(0).sum(),
    )
    return BrierDecomposition(*(term.to(p.dtype) for term in terms))
