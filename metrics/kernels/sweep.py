"""One pass over all pairs of points for many kernels at once.

Every MMD, the energy distance and their permutation tests are sums over the same pairs. What they share costs most in
many columns: the distances, d products a pair. A pass takes each tile of pairs once, computes its distances once, and
adds up for every kernel what is asked of it,

    the row sums and squares        from which the U-statistic and its variance follow (`metrics.kernels.sums`),
    the sums over blocks of labels  aᵀKa for B labellings a of the pooled points, a product of the tile with B vectors.

A constant c is taken out of every kernel first. It changes no variance, and of the blocks each loses c times
its number of pairs, which is put back.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from metrics.centred import Centred, mean_of, squared_sizes
from metrics.distances import centred_distances, product_distances
from metrics.kernels import sums as tiles
from metrics.kernels.gram import gram_of
from metrics.kernels.kernel import Kernel, Radial
from metrics.kernels.sums import KernelSums

__all__ = ["BlockSums", "Sweep", "sweep"]

GUESS = 128
"""Points of each cloud that the constant is taken from."""


@dataclass(frozen=True)
class BlockSums:
    """Sums of a pooled matrix over the blocks that labels cut it into, [b] each."""

    xx: Float[Tensor, " b"]
    xy: Float[Tensor, " b"]
    yy: Float[Tensor, " b"]


@dataclass(frozen=True)
class Sweep:
    """What one pass gave: of each kernel of `kernels` and of `permuted`."""

    sums: tuple[KernelSums, ...]
    blocks: tuple[BlockSums, ...]


@torch.no_grad()
def sweep(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    kernels: Sequence[Kernel],
    *,
    permuted: Sequence[Kernel] = (),
    labels: Shaped[Tensor, "b N"] | None = None,
) -> Sweep:
    """Return the sums of kernels over all pairs of distinct points, in float64 and in the memory of a few tiles.

    Args:
        x: [n, d].
        y: [m, d].
        kernels: Those whose `KernelSums` are wanted.
        permuted: Those whose sums over the blocks of labels are wanted.
        labels: Rows of 1 for x and 0 for y over the n + m pooled points; every row has n ones.

    >>> from metrics.kernels.kernel import NegativeDistance
    >>> x = torch.tensor([[0.0], [1.0]])
    >>> k, labels = NegativeDistance(), torch.tensor([[1, 1, 0, 0]])
    >>> found = sweep(x, x + 2, [k], permuted=[k], labels=labels)
    >>> found.sums[0].value(), found.blocks[0].xy
    (tensor(2., dtype=torch.float64), tensor([-8.], dtype=torch.float64))
    """
    of_sums = [_Sums(x, y, kernel) for kernel in kernels]
    of_blocks = [] if labels is None else [_Blocks(x, y, kernel, labels) for kernel in permuted]
    distinct = list(dict.fromkeys([*kernels, *permuted]))
    wanted = {k: [add for add in [*of_sums, *of_blocks] if add.kernel == k] for k in distinct}
    radial = any(isinstance(kernel, Radial) for kernel in distinct)
    for rows, columns, a, b in _tiles(x, y):
        r = centred_distances(a, b) if radial else None
        for kernel, adders in wanted.items():
            if r is not None and isinstance(kernel, Radial):
                gram = kernel.from_distances(r)
            else:
                gram = gram_of(kernel, a.points.double(), b.points.double())
            gram = gram - adders[0].centre
            if rows == columns:
                gram.fill_diagonal_(0)
            for add in adders:
                add(rows, columns, gram)
    return Sweep(tuple(s.done() for s in of_sums), tuple(b.done() for b in of_blocks))


def _tiles(x: Tensor, y: Tensor) -> Iterator[tuple[slice, slice, Centred, Centred]]:
    """Where each unordered pair of tiles of the pooled points is, and their points; no tile is half x, half y."""
    n, m, size = len(x), len(y), tiles.TILE
    places = [slice(s, min(s + size, n)) for s in range(0, n, size)]
    places += [slice(s, min(s + size, n + m)) for s in range(n, n + m, size)]
    own = mean_of(x), mean_of(y)
    both = (n / (n + m)) * own[0] + (m / (n + m)) * own[1]
    # Within a cloud from its own middle: from that of both, clouds far apart would lose digits, and be slow.
    sizes = {
        (cloud, centre is both): squared_sizes(points, centre)
        for cloud, points in enumerate((x, y))
        for centre in (own[cloud], both)
    }

    def seen(at: slice, *, between: bool) -> Centred:
        cloud = int(at.start >= n)
        rows = slice(at.start - n, at.stop - n) if cloud else at
        centre = both if between else own[cloud]
        return Centred.of((x, y)[cloud][rows], centre, sizes[cloud, between][rows])

    for i, rows in enumerate(places):
        views = [seen(rows, between=between) for between in (False, True)]
        for columns in places[i:]:
            between = (rows.start < n) != (columns.start < n)
            yield rows, columns, views[between], seen(columns, between=between)


def _centre(x: Tensor, y: Tensor, kernel: Kernel) -> float:
    a, b = x[:GUESS].double(), y[:GUESS].double()
    r = (
        kernel.from_distances(product_distances(a, b))
        if isinstance(kernel, Radial)
        else gram_of(kernel, a, b)
    )
    return float(r.mean())


class _Sums:
    """Adds up the `KernelSums` of one kernel."""

    def __init__(self, x: Tensor, y: Tensor, kernel: Kernel) -> None:
        self.n, self.kernel, self.centre = len(x), kernel, _centre(x, y, kernel)
        count = len(x) + len(y)
        # Sums over the other points of the own cloud, and over those of the other cloud.
        self.own, self.other = torch.zeros(2, count, dtype=torch.float64, device=x.device)
        self.squares = torch.zeros(3, dtype=torch.float64, device=x.device)

    def __call__(self, rows: slice, columns: slice, gram: Tensor) -> None:
        in_x = rows.start < self.n, columns.start < self.n
        square = torch.dot(gram.flatten(), gram.flatten())
        degrees = self.own if in_x[0] == in_x[1] else self.other
        degrees[rows] += gram.sum(1)
        if rows != columns:
            degrees[columns] += gram.sum(0)
        if in_x[0] != in_x[1]:
            self.squares[2] += square
        else:
            self.squares[0 if in_x[0] else 1] += square if rows == columns else 2 * square

    def done(self) -> KernelSums:
        n = self.n
        return KernelSums(
            self.centre, self.own[:n], self.own[n:], self.other[:n], self.other[n:], self.squares
        )


class _Blocks:
    """Adds up the `BlockSums` of one kernel."""

    def __init__(self, x: Tensor, y: Tensor, kernel: Kernel, labels: Tensor) -> None:
        self.sizes, self.kernel, self.centre = (len(x), len(y)), kernel, _centre(x, y, kernel)
        self.labels = labels.double().to(x.device)
        self.xx = self.labels.new_zeros(len(labels))
        self.totals = self.labels.new_zeros(len(x) + len(y))

    def __call__(self, rows: slice, columns: slice, gram: Tensor) -> None:
        a, same = self.labels, rows == columns
        self.totals[rows] += gram.sum(1)
        if not same:
            self.totals[columns] += gram.sum(0)
        # Both triangles: each pair of tiles stands for its mirror image too.
        self.xx += (1 if same else 2) * ((a[:, rows] @ gram) * a[:, columns]).sum(1)

    def done(self) -> BlockSums:
        (n, m), c = self.sizes, self.centre
        xy = self.labels @ self.totals - self.xx
        yy = self.totals.sum() - self.xx - 2 * xy
        return BlockSums(self.xx + c * n * (n - 1), xy + c * n * m, yy + c * m * (m - 1))
