"""What nearest neighbours tell: fidelity and diversity of samples, and their KL divergence.

Let NND_k(a) be the distance of a point to its k-th nearest neighbour within its own cloud, the point itself
left out, and B(a) the closed ball of that radius around a. With N real points x_i and M fake ones y_j:

    precision   share of the y_j that lie in some B(x_i)          Kynkäänniemi et al. 2019, eq. 1–2
    recall      share of the x_i that lie in some B(y_j)          the same
    density     (1/kM) Σ_j #{i : y_j in B(x_i)}                   Naeem et al. 2020, section 3
    coverage    share of the x_i whose B(x_i) holds some y_j      the same

A ball is closed (≤), as in Kynkäänniemi et al.; Naeem et al.'s code takes it open (<). The two differ only where
distances are equal: for data with many exact copies an open ball of radius 0 would not even hold the copies. For two
clouds of one continuous distribution the expectations do not depend on that distribution or on its dimension: y_j and
the other N − 1 real points are in random order around x_i, so y_j is among the first k with probability k/N, and the
first k hold no y at all with probability ∏_{j=1..k} (N − j)/(N + M − j). Hence

    E density = 1,    E coverage = 1 − ∏_{j=1..k} (N − j)/(N + M − j).

Precision and recall have no such value: one outlier's large ball makes them large. Density counts balls and
has no upper bound.

The KL divergence is estimated from ρ_i, the distance of x_i to its k-th neighbour among the other x, and
ν_i, that to its k-th neighbour among the y (Wang, Kulkarni & Verdú 2009, IEEE Trans. Inf. Theory 55):

    KL(P ‖ Q) ≈ (d/n) Σ_i ln(ν_i/ρ_i) + ln(m/(n − 1)).

It is consistent for any fixed k, with a bias that falls slowly, like n^{−1/d}, and may be negative.
Where x lies far outside of y it saturates: m points of Q say nothing about a density below 1/m, so it falls
short of a divergence of several nats.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_count, check_pair
from metrics.neighbours.radii import ball_blocks
from metrics.neighbours.search import kth_neighbour
from metrics.neighbours.weighted import check_reach, weighted_scores
from metrics.precision import full_precision
from metrics.weights import weighted

__all__ = [
    "NeighbourScores",
    "knn_kl",
    "precision_recall_density_coverage",
]


@dataclass(frozen=True)
class NeighbourScores:
    """Precision, recall, density and coverage as 0-dim tensors.

    Attributes:
        precision: Share of fake points inside the real cloud's balls: fidelity.
        recall: Share of real points inside the fake cloud's balls: diversity.
        density: Mean number of real balls around a fake point, over k; 1 in expectation for equal distributions.
        coverage: Share of real points whose ball holds a fake point: diversity.
    """

    precision: Float[Tensor, ""]
    recall: Float[Tensor, ""]
    density: Float[Tensor, ""]
    coverage: Float[Tensor, ""]


@full_precision
def precision_recall_density_coverage(
    *,
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m d"],
    k: SupportsIndex = 5,
    weights_real: Float[Tensor, " n"] | None = None,
    weights_fake: Float[Tensor, " m"] | None = None,
) -> NeighbourScores:
    """Return precision, recall, density and coverage of fake samples by k nearest neighbours.

    Args:
        real: Samples of the truth, [n, d].
        fake: Samples to judge, [m, d].
        k: The neighbour that sets a ball's radius, the point itself not counted; below n and m.
        weights_real: Weights of the real points, normalised to sum one; None is uniform; zeros are allowed. A ball then
            reaches a weight of k Σ a_i² besides its centre, and shares are weighted (`metrics.neighbours.weighted`).
        weights_fake: Weights of the fake ones.

    Returns:
        Four 0-dim tensors, none of them differentiable, in the weights neither: they jump where a point enters a ball.
        Memory is O(block), not O(n·m).

    Raises:
        ValueError: Clouds that cannot be compared; k outside 1 … min(n, m) − 1; weights that are none, or one of which
            leaves too little for a ball.

    >>> real = torch.tensor([[0.0], [1.0], [2.0]])
    >>> scores = precision_recall_density_coverage(real=real, fake=torch.tensor([[0.5], [9.0]]), k=1)
    >>> scores.precision, scores.coverage  # 0.5 lies in the unit balls of 0 and 1; so it covers them
    (tensor(0.5000), tensor(0.6667))
    """
    check_pair(real, fake, ("real", "fake"), least=2)
    with torch.no_grad():
        if weights_real is not None or weights_fake is not None:
            return _weighted((real, weights_real, "weights_real"), (fake, weights_fake, "weights_fake"), k)
        k = check_count(k, "k", below=min(len(real), len(fake)))
        # A point is at 0 from itself, so itself is the first of its k + 1 nearest.
        radius_x, radius_y = (kth_neighbour(cloud, cloud, k + 1)[0] for cloud in (real, fake))
        scores = _scores(ball_blocks(real, fake, radius_x=radius_x, radius_y=radius_y), radius_y, k)
    return NeighbourScores(*(score.to(real.dtype) for score in scores))


@full_precision
def knn_kl(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], *, k: SupportsIndex = 5) -> Float[Tensor, ""]:
    """Return the k-nearest-neighbour estimate of KL(P ‖ Q) in nats, from samples x of P and y of Q.

    (d/n) Σ_i ln(ν_i/ρ_i) + ln(m/(n − 1)), with the distances of x_i to its k-th neighbours in y and among
    the other x.

    Args:
        x: Samples of P, [n, d], n > k.
        y: Samples of Q, [m, d], m ≥ k.
        k: The neighbour; a larger one has less variance and more bias.

    Returns:
        A 0-dim tensor, differentiable. It may be negative, and its bias grows with d: read it beside its
        floor.

    Raises:
        ValueError: Clouds that cannot be compared; k outside 1 … min(n − 1, m); a point with k copies, for
            which no density exists.

    >>> x, y = torch.randn(2, 1000, 1, generator=torch.Generator().manual_seed(0)).unbind()
    >>> bool((knn_kl(x, y + 1) - 0.5).abs() < 0.15)  # KL(N(0, 1) ‖ N(1, 1)) = ½
    True
    """
    check_pair(x, y)
    k = check_count(k, "k", below=min(len(x), len(y) + 1))
    a, b = x.double(), y.double()
    rho, nu = _distance_to(a, a[kth_neighbour(a, a, k + 1)[1]]), _distance_to(a, b[kth_neighbour(a, b, k)[1]])
    return _kl(rho, nu, k=k, d=x.shape[1], m=len(y)).to(x.dtype)


def _weighted(
    real: tuple[Tensor, Tensor | None, str], fake: tuple[Tensor, Tensor | None, str], k: SupportsIndex
) -> NeighbourScores:
    (x, a), (y, b) = weighted(*real, least=2), weighted(*fake, least=2)
    k = check_count(k, "k", below=min(len(x), len(y)))
    a, b = (
        z.new_full((len(z),), 1 / len(z), dtype=torch.float64) if w is None else w
        for z, w in ((x, a), (y, b))
    )
    for w, name in ((a, real[2]), (b, fake[2])):
        check_reach(w, k, name)
    return NeighbourScores(*(score.to(x.dtype) for score in weighted_scores(x, y, a, b, k)))


def _distance_to(x: Tensor, neighbour: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x - neighbour, dim=1)


def _scores(blocks: Iterable[tuple[Tensor, Tensor]], like: Tensor, k: int) -> tuple[Tensor, ...]:
    """The four scores from whether each distance, in rows of real points, is within the real and the fake radius."""
    precise, balls = torch.zeros_like(like, dtype=torch.bool), torch.zeros_like(like[0])
    recalled, covered = [], []
    for in_real, in_fake in blocks:
        precise |= in_real.any(0)
        balls += in_real.count_nonzero()
        covered.append(in_real.any(1))
        recalled.append(in_fake.any(1))
    precision, recall, coverage = (
        share.double().mean() for share in (precise, torch.cat(recalled), torch.cat(covered))
    )
    return precision, recall, balls / len(precise) / k, coverage


def _kl(rho: Tensor, nu: Tensor, *, k: int, d: int, m: int) -> Tensor:
    for radius, name in ((rho, "x"), (nu, "y")):
        copies = int((radius.detach() == 0).sum())
        if copies:
            raise ValueError(
                f"{name} must not hold {k} copies of a point of x, got {copies} such points: no density "
                "exists there; raise k or remove them"
            )
    n = len(rho)
    return d * (nu.log() - rho.log()).mean() + torch.tensor(m / (n - 1), dtype=rho.dtype).log()
