"""Classes with an order, such as grades: a score that charges by how far the probability lies.

    RPS(P, y) = Σ_{k<K} (P(Y ≤ k) − 1[y ≤ k])²

(Epstein 1969): the CRPS of the classes' numbers 0 … K − 1, and strictly proper. For two classes it is half of Brier's
score as `brier_score` sums it.
"""

from jaxtyping import Float, Int64
from torch import Tensor

from metrics.precision import full_precision
from metrics.predictions._scores import Score, reduced
from metrics.probabilities import check_labels, check_probabilities

__all__ = ["ranked_probability_score"]


@full_precision
def ranked_probability_score(
    probs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], *, per_point: bool = False
) -> Score:
    """Return the ranked probability score Σ_k (P(Y ≤ k) − 1[y ≤ k])², from 0 to classes − 1; lower is better.

    Args:
        probs: Predicted probabilities of classes in their order, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].
        per_point: Return the n scores instead of their mean.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; labels that are not int64 or out of range.

    >>> import torch
    >>> ranked_probability_score(torch.tensor([[0.2, 0.3, 0.5]]), torch.tensor([2]))  # 0.2² + 0.5²
    tensor(0.2900)
    """
    p = check_probabilities(probs).double()
    y = check_labels(labels, p)
    gap = p.scatter_add(1, y[:, None], p.new_full((len(p), 1), -1))
    return reduced(gap.cumsum(1)[:, :-1].square().sum(1), per_point).to(probs.dtype)
