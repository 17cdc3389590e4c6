"""Neighbour measures of many subsets of two clouds at once, exactly, from one search.

A resampled error asks for a measure on many random halves. The k-th neighbour of a point within a half is the k-th of
its neighbours in the whole cloud, in order of distance, that survive. Each survives with chance ½, and fewer than k of
the L = 8k + 24 nearest do so with a chance below 10⁻⁹: one search for L neighbours serves every half, and the rare rest
is searched anew. Balls work the same way: only pairs that are within the largest radius of any half are looked at
again, and where many are within the least radius of all, as in a cloud that is narrower than the other, they are
counted by products of booleans. Each number is the one that the plain function gives for the subset.

A subset is a row of booleans over the points of a cloud.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metrics.distances import paired_distances
from metrics.neighbours.packed import Measured, NestedBalls, count_subsets, join_into, packed, unpacked
from metrics.neighbours.radii import pairs_within
from metrics.neighbours.search import near_pairs

__all__ = [
    "accuracy_of_subsets",
    "nearest_of",
    "radii_of_subsets",
    "scores_of_subsets",
    "tables_for_accuracy",
]

Table = tuple[Tensor, Tensor, Tensor]
"""Points [b], and of each the nearest others: which ones and how far, [b, t]."""

ENTRIES = 2**22
"""Entries of (subsets × pairs) that are looked at in one go."""

PAIRS = 2**18
"""Pairs whose sets of subsets are looked at in one go."""


@torch.no_grad()
def scores_of_subsets(
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m d"],
    in_real: Bool[Tensor, "s n"],
    in_fake: Bool[Tensor, "s m"],
    k: int,
) -> Float[Tensor, "s 4"]:
    """Return precision, recall, density and coverage of every pair of subsets, each of more than k points.

    >>> real, fake = torch.tensor([[0.0], [1.0], [2.0], [9.0]]), torch.tensor([[0.5], [9.0]])
    >>> subsets = torch.tensor([[True, True, True, False]]), torch.tensor([[True, True]])
    >>> scores_of_subsets(real, fake, *subsets, k=1)  # recall: the ball of 0.5 has the radius 8.5
    tensor([[0.5000, 1.0000, 1.0000, 0.6667]], dtype=torch.float64)
    """
    least = int(min(in_real.sum(1).min(), in_fake.sum(1).min()))
    if k >= least:
        raise ValueError(
            f"k must be below the points of every subset, {least} in the smallest, got {k}; lower it"
        )
    radius_x, radius_y = radii_of_subsets(real, in_real, k), radii_of_subsets(fake, in_fake, k)
    around = NestedBalls.of(radius_x), NestedBalls.of(radius_y)
    found = _Held(in_real, in_fake)
    ranges = (_range(radius_x, in_real), _range(radius_y, in_fake))
    for at, sure_x, sure_y, rows, columns, square, error in pairs_within(
        real, fake, radii_x=ranges[0], radii_y=ranges[1]
    ):
        found.add_sure(at, sure_x, sure_y)
        parts = (t.split(PAIRS) for t in (rows, columns, square, error))
        for row, j, *measured in zip(*parts, strict=True):
            counted = None if sure_x is None else sure_x[row, j]
            found.add_single(Measured(real, fake, row + at.start, j, *measured), around, counted)
    return found.scores(k)


class _Held:
    """What is found of every subset, while blocks of pairs are looked at."""

    def __init__(self, in_real: Bool[Tensor, "s n"], in_fake: Bool[Tensor, "s m"]) -> None:
        self.subsets = in_real, in_fake
        self.sets = packed(in_real), packed(in_fake)
        self.balls = torch.zeros_like(in_real[:, 0], dtype=torch.int64)
        # Fake points in a real ball, real ones in a fake ball, real ones whose ball holds a fake point.
        self.shares = tuple(torch.zeros_like(rows) for rows in (in_fake, in_real, in_real))
        self.single = tuple(torch.zeros_like(words) for words in (self.sets[1], self.sets[0], self.sets[0]))

    def add_sure(self, at: slice, sure_x: Tensor | None, sure_y: Tensor | None) -> None:
        """Pairs within every ball that there is around x_i, or y_j: by products of booleans, for all subsets."""
        (in_real, in_fake), (precise, recalled, covered) = self.subsets, self.shares
        if sure_x is not None:
            count = (sure_x.float() @ in_fake.T.float()).T
            self.balls += (count.long() * in_real[:, at]).sum(1)
            covered[:, at] |= (count > 0) & in_real[:, at]
            precise |= ((in_real[:, at].float() @ sure_x.float()) > 0) & in_fake
        if sure_y is not None:
            recalled[:, at] |= ((sure_y.float() @ in_fake.T.float()).T > 0) & in_real[:, at]

    def add_single(
        self, pairs: Measured, around: tuple[NestedBalls, NestedBalls], counted: Tensor | None
    ) -> None:
        """Pairs that are in the balls of some subsets; those counted as sure of x_i already are none of x_i's."""
        i, j = pairs.i, pairs.j
        of_x = around[0].holding(i, pairs) & self.sets[1][:, j]
        if counted is not None:
            of_x.masked_fill_(counted, 0)
        of_y = around[1].holding(j, pairs) & self.sets[0][:, i]
        self.balls += count_subsets(of_x, len(self.balls))
        for joined, index, words in zip(self.single, (j, i, i), (of_x, of_y, of_x), strict=True):
            join_into(joined, index, words)

    def scores(self, k: int) -> Float[Tensor, "s 4"]:
        """The four scores of every subset."""
        real, fake = (rows.sum(1).double() for rows in self.subsets)
        precise, recalled, covered = (
            (share | unpacked(words, len(share))).sum(1)
            for share, words in zip(self.shares, self.single, strict=True)
        )
        return torch.stack(
            [precise / fake, recalled / real, self.balls.double() / fake / k, covered / real], 1
        )


@torch.no_grad()
def accuracy_of_subsets(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    in_x: Bool[Tensor, "s n"],
    in_y: Bool[Tensor, "s m"],
    tables: Sequence[Table] | None = None,
) -> Float[Tensor, " s"]:
    """Return the balanced leave-one-out 1-NN accuracy of every pair of subsets, from `tables_for_accuracy` of both.

    >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [8.0], [9.0]])
    >>> accuracy_of_subsets(x, y, torch.tensor([[True, True]]), torch.tensor([[False, True, True]]))
    tensor([1.], dtype=torch.float64)
    """
    pooled, alive = torch.cat([x, y]), torch.cat([in_x, in_y], 1)
    of_x = torch.arange(len(pooled), device=x.device) < len(x)
    right = torch.zeros_like(alive, dtype=torch.float64)
    for rows, columns, distance in tables_for_accuracy(pooled) if tables is None else tables:
        for s in _chunks(len(alive), columns.numel()):
            d = torch.where(alive[s][:, columns], distance, torch.inf)
            nearest = d.amin(2, keepdim=True)
            tied = d == nearest
            own = tied & (of_x[columns] == of_x[rows][:, None])
            share = own.sum(2).double() / tied.sum(2)
            for at, row in (nearest[..., 0].isinf() & alive[s][:, rows]).nonzero().tolist():
                share[at, row] = _share_of_own(pooled, of_x, alive[s][at], int(rows[row]))
            right[s, rows] = share
    right = right.masked_fill(~alive, 0)
    shares = right[:, : len(x)].sum(1) / in_x.sum(1), right[:, len(x) :].sum(1) / in_y.sum(1)
    return (shares[0] + shares[1]) / 2


@torch.no_grad()
def radii_of_subsets(x: Float[Tensor, "n d"], alive: Bool[Tensor, "s n"], k: int) -> Float[Tensor, "s n"]:
    """Return each point's distance to its k-th neighbour within every subset that holds it, and −1 in the others.

    >>> x = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    >>> radii_of_subsets(x, torch.tensor([[True, True, True], [True, False, True]]), 1).tolist()
    [[1.0, 1.0, 2.0], [3.0, -1.0, 3.0]]
    """
    radii = torch.full(alive.shape, -1.0, dtype=torch.float64, device=x.device)
    for rows, columns, distance in _neighbour_tables(x, _enough(k)):
        for s in _chunks(len(alive), columns.numel()):
            d = torch.where(alive[s][:, columns], distance, torch.inf)
            found = d.kthvalue(k, dim=2).values if d.shape[2] >= k else d.new_full(d.shape[:2], torch.inf)
            for at, row in (found.isinf() & alive[s][:, rows]).nonzero().tolist():
                i = int(rows[row])
                found[at, row] = _from_one(x, i)[alive[s][at]].kthvalue(k + 1).values
            radii[s, rows] = torch.where(alive[s][:, rows], found, -1.0)
    return radii


def _range(radii: Float[Tensor, "s n"], alive: Bool[Tensor, "s n"]) -> tuple[Tensor, Tensor]:
    """The least and the largest radius of every point over the subsets that hold it."""
    return radii.where(alive, torch.inf).amin(0), radii.amax(0).clamp(min=0)


def tables_for_accuracy(pooled: Float[Tensor, "N d"]) -> list[Table]:
    """Return, block by block, points and their nearest others: enough for `accuracy_of_subsets` and `nearest_of`."""
    return list(_neighbour_tables(pooled, _enough(1)))


def nearest_of(tables: Sequence[Table]) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
    """Return `nearest_pairs` of the points of tables: each with its nearest other, with all where several tie.

    >>> nearest_of(tables_for_accuracy(torch.tensor([[0.0], [2.0], [4.0]])))
    (tensor([0, 1, 1, 2]), tensor([1, 0, 2, 1]))
    """
    found = []
    for rows, columns, distance in tables:
        tied = distance == distance.amin(1, keepdim=True)
        found.append((rows[:, None].expand_as(columns)[tied], columns[tied]))
    rows, columns = (torch.cat(part) for part in zip(*found, strict=True))
    order = torch.argsort(rows * (int(columns.max()) + 1) + columns)
    return rows[order], columns[order]


def _share_of_own(pooled: Tensor, of_x: Tensor, alive: Tensor, i: int) -> Tensor:
    """The share of its own cloud among the nearest others of one point, from all distances."""
    d = _from_one(pooled, i).masked_fill(~alive, torch.inf)
    d[i] = torch.inf
    return (of_x == of_x[i])[d == d.min()].double().mean()


def _from_one(x: Tensor, i: int) -> Tensor:
    """The distances from one point to all."""
    columns = torch.arange(len(x), device=x.device)
    return paired_distances(x, x, torch.full_like(columns, i), columns, dtype=torch.float64)


def _enough(k: int) -> int:
    """Neighbours of whom at least k survive a halving, with a chance of all but 1e-9."""
    return 8 * k + 24


def _chunks(subsets: int, entries: int) -> list[slice]:
    step = max(1, ENTRIES // max(1, entries))
    return [slice(start, start + step) for start in range(0, subsets, step)]


def _neighbour_tables(x: Tensor, count: int) -> Iterator[Table]:
    """Rows of points [b], and their nearest others, at least `count` of them: columns and distances [b, t].

    Where a row has fewer than another the rest is at infinity.
    """
    for start, height, rows, columns, distance in near_pairs(x, x, min(count + 1, len(x))):
        other = rows + start != columns
        rows, columns, distance = rows[other], columns[other], distance[other]
        each = rows.bincount(minlength=height)
        place = torch.arange(len(rows), device=x.device) - (each.cumsum(0) - each)[rows]
        table = distance.new_full((height, int(each.max())), torch.inf)
        which = torch.zeros_like(table, dtype=torch.int64)
        table[rows, place], which[rows, place] = distance, columns
        yield torch.arange(start, start + height, device=x.device), which, table
