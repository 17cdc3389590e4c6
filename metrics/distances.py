"""Euclidean distances between two clouds, D_ij = ‖x_i − y_j‖₂: the one currency of the sample-based measures.

The fast form ‖x‖² + ‖y‖² − 2⟨x, y⟩ loses half of the digits, and all of them for points that are close
compared to their distance from the origin: in float32, at norm 1000, nothing below about 0.3 can be told
from zero. Nearest neighbours, leave-one-out measures and gradients then rest on noise. Here every
difference is formed first, then squared and summed, in float64 whatever the clouds' type. A point is at
distance exactly 0 from itself and from its copies.

The gradient is ∂D_ij/∂x_i = (x_i − y_j)/D_ij, and 0 (a subgradient) where D_ij = 0. With W = G/D for an
incoming gradient G it is W1 ∘ x − Wy: two matrix products, differentiable again, and O(n·m) memory on every
device.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.centred import Centred, mean_of
from metrics.inputs import check_pair
from metrics.precision import full_precision

__all__ = [
    "centred_distances",
    "distance_blocks",
    "distances",
    "euclidean",
    "off_diagonal",
    "paired_distances",
    "product_distances",
]

BLOCK = 2**24
"""Entries of a block of distances: 128 MiB in float64."""

GATHERED = 2**19
"""Entries of the gathered rows of a block of pairs: 4 MiB in float64, to stay in a processor's cache."""

DIRECT = 16
"""Columns up to which differences are as fast as a product."""

CLOSE = 1e-4
"""A squared distance below this share of the points' squared norms has lost four digits of the product's fifteen."""


@full_precision
def distances(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Return the Euclidean distances ‖x_i − y_j‖₂ between the points of two clouds.

    Args:
        x: The first cloud, [n, d].
        y: The second cloud, [m, d]; `distances(x, x)` is symmetric with a diagonal of exact zeros.

    Returns:
        [n, m], in the type of the clouds; accumulated in float64. Differentiable, with gradient 0 at
        distance 0.

    Raises:
        ValueError: Clouds that cannot be compared.

    >>> distances(torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[5.],
            [4.]])
    """
    check_pair(x, y)
    return euclidean(x, y).to(x.dtype)


def distance_blocks(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], *, block: int | None = None
) -> Iterator[tuple[int, Float[Tensor, "b m"]]]:
    """Yield the rows of `distances(x, y)` in blocks of about `block` entries (2²⁴), each with its first row.

    For measures that keep only a summary of each row, so that memory is O(block) and not O(n·m).

    >>> [(at, len(rows)) for at, rows in distance_blocks(torch.zeros(5, 1), torch.zeros(4, 1), block=8)]
    [(0, 2), (2, 2), (4, 1)]
    """
    height = max(1, (block or BLOCK) // len(y))
    for start in range(0, len(x), height):
        yield start, euclidean(x[start : start + height], y).to(x.dtype)


@full_precision
def paired_distances(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    rows: Int[Tensor, " p"],
    columns: Int[Tensor, " p"],
    *,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, " p"]:
    """Return the entries D_ij of `distances(x, y)` at some rows and columns, to the bit; not differentiable.

    In the type of the clouds unless another is asked for; accumulated in float64.

    >>> x = torch.tensor([[0.0], [3.0]])
    >>> paired_distances(x, x, torch.tensor([0, 1]), torch.tensor([1, 1]))
    tensor([3., 0.])
    """
    size = max(1, GATHERED // x.shape[1])
    x, y = x.detach(), y.detach()
    # Made beforehand: small results that live between large temporary ones would cut the heap into pieces too small
    # for the next, 18 GB of them where 2 GB are needed.
    found = torch.empty(len(rows), dtype=torch.float64, device=x.device)
    for out, i, j in zip(found.split(size), rows.split(size), columns.split(size), strict=True):
        out.copy_(euclidean(x[i][:, None], y[j][:, None]).flatten())
    return found.to(dtype or x.dtype)


@torch.no_grad()
@full_precision
def product_distances(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Return `distances(x, y)` in float64 by a matrix product, to a relative error of about 1e-10; not differentiable.

    For sums over tiles of pairs, where no neighbour is decided. Seen from the middle of y the product form errs by some
    d·2⁻⁵³(‖x_i‖² + ‖y_j‖²); pairs whose D² is below 1e-4 of that size are computed from their differences, and all are
    up to 16 columns, where that is as fast.

    >>> product_distances(torch.tensor([[1e6]]), torch.tensor([[1e6 + 1], [1e6]]))
    tensor([[1., 0.]], dtype=torch.float64)
    """
    centre = mean_of(y)
    return centred_distances(Centred.of(x, centre), Centred.of(y, centre))


def centred_distances(x: Centred, y: Centred) -> Float[Tensor, "n m"]:
    """Return `product_distances` of points that are seen already from one place in their midst.

    >>> one = Centred.of(torch.ones(1, 1), torch.zeros(1, dtype=torch.float64))
    >>> centred_distances(one, one)
    tensor([[0.]], dtype=torch.float64)
    """
    if x.points.shape[1] <= DIRECT:
        return euclidean(x.points, y.points)
    squares = torch.addmm(y.sizes[None], x.centred, y.centred.T, alpha=-2).add_(x.sizes[:, None])
    close = squares <= CLOSE * (x.sizes + y.sizes.max())[:, None]
    found = squares.clamp_(min=0).sqrt_()
    count = int(close.count_nonzero())
    if 4 * count > close.numel():
        return euclidean(x.points, y.points)
    if count:
        rows, columns = close.nonzero(as_tuple=True)
        found[rows, columns] = paired_distances(x.points, y.points, rows, columns, dtype=torch.float64)
    return found


def off_diagonal(square: Float[Tensor, "n n"]) -> Float[Tensor, " pairs"]:
    """Return the n(n − 1) entries off the diagonal of a square matrix, row by row.

    >>> off_diagonal(torch.arange(9.0).reshape(3, 3))
    tensor([1., 2., 3., 5., 6., 7.])
    """
    n = len(square)
    # Cut after the first entry, the diagonal is the last column of n − 1 rows of n + 1 entries.
    return square.flatten()[1:].reshape(n - 1, n + 1)[:, :-1].flatten()


def euclidean(x: Float[Tensor, "... n d"], y: Float[Tensor, "... m d"]) -> Float[Tensor, "... n m"]:
    """Return `distances` in float64, of batches of clouds too, without a look at what comes in.

    >>> euclidean(torch.zeros(1, 1, 2), torch.tensor([[[3.0, 4.0]]]))
    tensor([[[5.]]], dtype=torch.float64)
    """
    return _Euclidean.apply(x.double(), y.double())  # type: ignore[return-value]


class _Euclidean(torch.autograd.Function):
    """`torch.cdist` in its direct form; its own backward on CUDA would need n·m·d memory and has none itself."""

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    @full_precision
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        (grad,), (x, y, r) = grad_outputs, ctx.saved_tensors
        # Only differences count: near the origin the products lose least to cancellation.
        centre = y.mean(-2, keepdim=True)
        x, y = x - centre, y - centre
        # The root's slope at 0 is taken as 0 before the division, so that no 0 · ∞ stands in the derivative of this.
        weight = torch.where(r > 0, grad / torch.where(r > 0, r, 1.0), 0.0)
        at_x = weight.sum(-1, keepdim=True) * x - weight @ y
        return at_x, weight.sum(-2)[..., None] * y - weight.mT @ x
