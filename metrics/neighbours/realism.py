"""What each generated sample is by itself: how realistic, and how rare.

With NND_k(a) the distance of a real point to its k-th nearest other one, and a sample b:

    realism(b)   max over real a of NND_k(a)/‖a − b‖             Kynkäänniemi et al. 2019, eq. 3
    rarity(b)    min over real a with ‖a − b‖ ≤ NND_k(a)         Han et al. 2023, section 3
                 of NND_k(a)

Realism is at least 1 exactly where b lies in some ball: it makes the yes or no of precision continuous. Half of the
balls, those with the larger radii, are left out, since a large radius says that the real points are sparse and not that
b is like them. Rarity is the radius of the smallest ball that holds b, large where real points are far from each other;
it is not defined outside of all balls. Realism is a ratio, rarity a distance in the units of the features.
"""

from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.distances import product_distances
from metrics.inputs import check_count, check_pair
from metrics.neighbours.radii import pairs_within, within_radii
from metrics.neighbours.search import kth_neighbour
from metrics.precision import full_precision

__all__ = ["rarity_scores", "realism_scores"]

TILE = 1024
"""Points along a tile's side: 8 MiB in float64."""


@torch.no_grad()
@full_precision
def realism_scores(
    *, real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], k: SupportsIndex = 3
) -> Float[Tensor, " m"]:
    """Return how realistic each fake sample is: max over real points of NND_k/distance, the half with small balls.

    Args:
        real: Samples of the truth, [n, d].
        fake: Samples to judge, [m, d].
        k: The neighbour that sets a ball's radius, the point itself not counted; below n. The paper has 3.

    Returns:
        [m], 1 or more inside of a ball, infinite on top of a real point; not differentiable. (The authors' code has the
        square of this, the ratio of squared distances.)

    Raises:
        ValueError: Clouds that cannot be compared; k outside 1 … n − 1.

    >>> real = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # radii 1, 1, 2, 4: the first two are kept
    >>> realism_scores(real=real, fake=torch.tensor([[1.5], [5.0]]), k=1)
    tensor([2.0000, 0.2500])
    """
    check_pair(real, fake, ("real", "fake"), least=1)
    k = check_count(k, "k", below=len(real))
    radius = kth_neighbour(real, real, k + 1)[0]
    kept = radius <= radius.median()
    centres, radius = real[kept], radius[kept]
    found = radius.new_zeros(len(fake))
    for start in range(0, len(fake), TILE):
        for at in range(0, len(centres), TILE):
            rows, columns = slice(start, start + TILE), slice(at, at + TILE)
            distance = product_distances(fake[rows], centres[columns])
            # On top of a point nothing is more real, be its ball's radius 0 or not.
            ratio = torch.where(distance > 0, radius[columns] / distance, torch.inf)
            found[rows] = torch.maximum(found[rows], ratio.amax(1))
    return found.to(fake.dtype)


@torch.no_grad()
@full_precision
def rarity_scores(
    *, real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], k: SupportsIndex = 3
) -> Float[Tensor, " m"]:
    """Return how rare each fake sample is: the radius of the smallest real ball that holds it.

    Args:
        real: Samples of the truth, [n, d].
        fake: Samples to judge, [m, d].
        k: The neighbour that sets a ball's radius, the point itself not counted; below n. The paper has 3.

    Returns:
        [m], in the units of the distances; NaN for a sample outside of all balls, of which there is nothing to say
        (the authors' code has 0 there; the share of the others is precision). Not differentiable.

    Raises:
        ValueError: Clouds that cannot be compared; k outside 1 … n − 1.

    >>> real = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    >>> rarity_scores(real=real, fake=torch.tensor([[1.5], [5.0], [99.0]]), k=1)
    tensor([1., 2., nan])
    """
    check_pair(real, fake, ("real", "fake"), least=1)
    k = check_count(k, "k", below=len(real))
    radius = kth_neighbour(real, real, k + 1)[0]
    found, zero = radius.new_full((len(fake),), torch.inf), radius.new_zeros(len(fake))
    for at, inside, _, rows, columns, square, error in pairs_within(
        real, fake, radii_x=(radius, radius), radii_y=(zero, zero)
    ):
        if inside is not None:
            of = torch.where(inside, radius[at, None], torch.inf)
            found = torch.minimum(found, of.amin(0))
        pair = rows + at.start, columns
        near = within_radii(real, fake, pair, square, error, radius[at][rows, None])[:, 0]
        found.scatter_reduce_(0, columns[near], radius[at][rows[near]], "amin")
    return torch.where(found.isinf(), torch.nan, found).to(fake.dtype)
