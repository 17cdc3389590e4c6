"""Precision, recall, density and coverage of weighted clouds: balls that reach a weight in place of a count.

With real points x_i of weights a_i and fake ones y_j of weights b_j, Σ a_i = Σ b_j = 1, let N_a = 1/Σ a_i² be the
effective number of real points (Kish 1965), and B(x_i) the smallest closed ball around x_i in which the *other* points
have a weight of k/N_a or more. Then

    precision   Σ_j b_j [y_j in some B(x_i)]
    recall      Σ_i a_i [x_i in some B(y_j)]
    density     Σ_j b_j Σ_i a_i [y_j in B(x_i)] / Σ_i a_i W_i
    coverage    Σ_i a_i [some y_j in B(x_i)]

where W_i is the weight that was reached, k/N_a and what the last point brought beyond it. For equal weights N_a = n,
the ball reaches the k-th neighbour, W_i = k/n, and the four are those of `metrics.neighbours.balls`. If both clouds
are of one continuous law and the weights do not know the points, y is in a ball of J other points with the chance J/n,
whose mean is that of W by Wald's equation (the ball stops at the first J that suffices): the density is 1 in
expectation, but for O(1/n). Over k/N_a it would be above by the last point's share.

N_a is a continuous function of the weights, where a count of points with weight would jump: a point whose weight goes
to 0 goes from density and coverage continuously. Precision and recall ask for any ball, and its own is one as long as
it has weight. A weight is no multiplicity: the centre is left out with all its weight, where of c copies of a point
each has the c − 1 others at distance 0. The balls exist where no point has more than 1 − k/N_a of all weight.

No search knows beforehand how many neighbours that takes: each point looks at its nearest 8k + 24, and those that have
not reached the weight look at four times as many, until all have.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.neighbours.radii import ball_blocks
from metrics.neighbours.search import near_pairs

__all__ = ["check_reach", "radii_of_weight", "weighted_scores"]

SLACK = 1e-9
"""A weight that falls short of another by this part of it is the same, summed in another order."""


@torch.no_grad()
def radii_of_weight(
    x: Float[Tensor, "n d"], weights: Float[Tensor, " n"], k: int
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return the radius of each point's smallest closed ball in which the others reach k Σ a_i², and what they reach.

    `check_reach` says whether there are any.

    >>> x = torch.tensor([[0.0], [1.0], [3.0], [7.0]], dtype=torch.float64)
    >>> radii, reached = radii_of_weight(x, torch.tensor([0.1, 0.1, 0.4, 0.4], dtype=torch.float64), 1)  # 0.34
    >>> radii.tolist(), [round(w, 1) for w in reached.tolist()]
    ([3.0, 2.0, 4.0, 4.0], [0.5, 0.5, 0.6, 0.4])
    """
    target = k * float(weights.square().sum()) * (1 - SLACK)
    radii, reached = torch.full_like(weights, torch.nan), torch.zeros_like(weights)
    left, count = torch.arange(len(x), device=x.device), min(8 * k + 24, len(x))
    while True:
        for start, height, rows, columns, distance in near_pairs(x[left], x, count):
            own = left[start : start + height]
            table = _ordered(own, rows, columns, distance, weights, count)
            radii[own], reached[own] = _first(*table, target)
        left = radii.isnan().nonzero()[:, 0]
        if not len(left) or count == len(x):
            return radii, reached
        count = min(4 * count, len(x))


def check_reach(weights: Float[Tensor, " n"], k: int, name: str) -> None:
    """Refuse weights of which one leaves the others less than a ball has to reach.

    >>> check_reach(torch.tensor([0.8, 0.1, 0.1]), 1, "weights_real")
    Traceback (most recent call last):
    ValueError: weights_real must leave every point others of a weight of k/N, k = 1 of N = 1.515 effective points, \
got a point with 0.8 of all; spread them more evenly
    """
    effective, largest = 1 / float(weights.square().sum()), float(weights.max())
    if (1 - largest) * effective < k * (1 - SLACK):
        fits = int((1 - largest) * effective)
        remedy = f"pass k = {fits} or less" if fits else "spread them more evenly"
        raise ValueError(
            f"{name} must leave every point others of a weight of k/N, k = {k} of N = {effective:.4g} effective "
            f"points, got a point with {largest:.4g} of all; {remedy}"
        )


def weighted_scores(
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m d"],
    a: Float[Tensor, " n"],
    b: Float[Tensor, " m"],
    k: int,
) -> tuple[Tensor, ...]:
    """Return precision, recall, density and coverage, in float64; the weights are positive and sum to one.

    >>> real = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    >>> third, half = (torch.full((n,), 1 / n, dtype=torch.float64) for n in (3, 2))
    >>> precision, *_, coverage = weighted_scores(real, torch.tensor([[0.5], [9.0]]).double(), third, half, 1)
    >>> round(float(precision), 4), round(float(coverage), 4)
    (0.5, 0.6667)
    """
    (radius_x, reached), (radius_y, _) = radii_of_weight(real, a, k), radii_of_weight(fake, b, k)
    precise, density = torch.zeros_like(b, dtype=torch.bool), torch.zeros_like(b)
    recalled, covered, at = [], [], 0
    for in_real, in_fake in ball_blocks(real, fake, radius_x=radius_x, radius_y=radius_y):
        precise |= in_real.any(0)
        density += a[at : at + len(in_real)] @ in_real.double()
        covered.append(in_real.any(1))
        recalled.append(in_fake.any(1))
        at += len(in_real)
    precision, density = b @ precise.double(), (b @ density) / (a @ reached)
    recall, coverage = (a @ torch.cat(each).double() for each in (recalled, covered))
    # A share of all is 1 to the bit only where the sum of the weights is.
    return precision.clamp(max=1), recall.clamp(max=1), density, coverage.clamp(max=1)


def _ordered(
    own: Tensor, rows: Tensor, columns: Tensor, distance: Tensor, weights: Tensor, count: int
) -> tuple[Float[Tensor, "b t"], Float[Tensor, "b t"]]:
    """Each point's nearest in order: how far, and the weight up to there, its own left out."""
    each = rows.bincount(minlength=len(own))
    place = torch.arange(len(rows), device=rows.device) - (each.cumsum(0) - each)[rows]
    table = distance.new_full((len(own), int(each.max())), torch.inf)
    share = torch.zeros_like(table)
    table[rows, place] = distance
    share[rows, place] = torch.where(columns == own[rows], 0.0, weights[columns])
    # Of equally near ones the heaviest first, whatever order the points came in.
    share, heavy = share.sort(dim=1, descending=True, stable=True)
    table, order = table.gather(1, heavy).sort(dim=1, stable=True)
    return table[:, :count], share.gather(1, order)[:, :count].cumsum(1)


def _first(distance: Tensor, reached: Tensor, target: float) -> tuple[Tensor, Tensor]:
    """Where the weight reaches the target, and the weight there; NaN and any where it does not."""
    at = (reached < target).sum(1)
    last = at.clamp(max=reached.shape[1] - 1)[:, None]
    found = distance.gather(1, last)[:, 0].masked_fill(at == reached.shape[1], torch.nan)
    return found, reached.gather(1, last)[:, 0]
