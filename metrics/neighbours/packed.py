"""Balls of many subsets at once: a pair of points asks which subsets have it in a ball, and the answer is some bits.

Around a point of a cloud every subset s has a ball of its own radius r(s). Whether a distance is within 81 of them
takes no 81 comparisons: in order of their radii the balls are nested, so that the ones that hold a distance D are all
from the first with r(s) ≥ D on. Which that is takes a bisection, seven comparisons, and which subsets those are is
looked up in a table: a set of subsets is a bit of a word for each, 63 of them in an int64. With 81 subsets that takes
a sixth of the time of booleans [pairs, subsets].

Sets of many pairs are joined by points without a sort. Every pair writes its set into its point's place, of several
pairs any one does, and those that have still something to add try again. The result does not depend on the order.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metrics.distances import paired_distances

__all__ = ["Measured", "NestedBalls", "count_subsets", "join_into", "packed", "unpacked"]

WORD = 63
"""Subsets in a word: all bits of an int64 but its sign's."""


class Measured(NamedTuple):
    """Pairs of points and their squared distances, up to an error.

    Attributes:
        x: A cloud, [n, d].
        y: Another, [m, d].
        i: A pair's points of x, [p].
        j: Those of y, [p].
        square: ‖x_i − y_j‖², [p], in float64.
        error: What that may be off by, and any rounding of the difference form, [p].
    """

    x: Tensor
    y: Tensor
    i: Tensor
    j: Tensor
    square: Tensor
    error: Tensor

    def at(self, index: Int[Tensor, " q"]) -> "Measured":
        """Some of the pairs."""
        return Measured(self.x, self.y, *(t[index] for t in self[2:]))


@dataclass(frozen=True)
class NestedBalls:
    """The balls that s subsets have around each of n points, in order of their radii.

    Attributes:
        edges: Radii in ascending order between −∞ and as many ∞ as make it 2^b + 1, [n, 2^b + 1].
        sets: The subsets from each radius on, [words, n, 2^b]; those without a ball are before any distance.
    """

    edges: Float[Tensor, "n t"]
    sets: Int[Tensor, "w n u"]

    @classmethod
    def of(cls, radii: Float[Tensor, "s n"]) -> "NestedBalls":
        """Order the balls of radii in float64; where one is below 0, the subset has no ball.

        >>> balls = NestedBalls.of(torch.tensor([[2.0], [-1.0], [1.0]], dtype=torch.float64))
        >>> balls.edges.tolist(), balls.sets.tolist()  # subset 0 is bit 0, subset 2 is bit 2
        ([[-inf, -inf, 1.0, 2.0, inf]], [[[7, 5, 1, 0]]])
        """
        count = len(radii)
        width = 2 ** count.bit_length()
        ordered, order = radii.masked_fill(radii < 0, -torch.inf).T.sort(dim=1)
        edges = ordered.new_full((len(ordered), width + 1), torch.inf)
        edges[:, 0], edges[:, 1 : count + 1] = -torch.inf, ordered
        sets = order.new_zeros(-(-count // WORD), len(order), width)
        for word, of_word in enumerate(sets):
            bit = (1 << order % WORD) * (order // WORD == word)
            # Bits of different subsets add up to their union.
            of_word[:, :count] = bit.flip(1).cumsum(1).flip(1)
        return cls(edges, sets)

    def holding(self, points: Int[Tensor, " p"], pairs: Measured) -> Int[Tensor, "w p"]:
        """Return the subsets whose closed ball around a pair's own point, of either cloud, reaches its other one.

        >>> balls = NestedBalls.of(torch.tensor([[2.0], [-1.0], [1.0]], dtype=torch.float64))
        >>> x, zero, one = torch.zeros(1, 1), torch.tensor([0]), torch.ones(1).double()
        >>> balls.holding(zero, Measured(x, x + 2, zero, zero, 4.1 * one, 0.2 * one))  # 2 itself, not √4.1
        tensor([[1]])
        """
        found = self.sets.new_zeros(len(self.sets), len(points))
        widest = self.edges[:, 1:].masked_fill(self.edges[:, 1:].isinf(), 0).amax(1).square()
        near = (pairs.square <= widest[points] + pairs.error).nonzero()[:, 0]
        points, pairs = points[near], pairs.at(near)
        place = self._first(points, pairs.square, squared=True)
        below, above = (_signed_square(self._edge(points, place + side)) for side in (0, 1))
        doubt = ((above - pairs.square <= pairs.error) | (pairs.square - below <= pairs.error)).nonzero()[
            :, 0
        ]
        if len(doubt):
            some = pairs.at(doubt)
            distance = paired_distances(some.x, some.y, some.i, some.j, dtype=torch.float64)
            place[doubt] = self._first(points[doubt], distance, squared=False)
        found[:, near] = self.sets.flatten(1)[:, points * self.sets.shape[2] + place]
        return found

    def _edge(self, points: Tensor, at: Tensor) -> Tensor:
        return self.edges.flatten()[points * self.edges.shape[1] + at]

    def _first(self, points: Tensor, value: Tensor, *, squared: bool) -> Int[Tensor, " p"]:
        """How many radii are less than a value, or their squares, by bisection."""
        place = torch.zeros_like(points)
        step = self.sets.shape[2] // 2
        while step:
            edge = self._edge(points, place + step)
            place += step * ((_signed_square(edge) if squared else edge) < value)
            step //= 2
        return place


def packed(subsets: Bool[Tensor, "s n"]) -> Int[Tensor, "w n"]:
    """Return of each point the subsets that hold it.

    >>> packed(torch.tensor([[True, False], [True, True]]))
    tensor([[3, 2]])
    """
    words = subsets.new_zeros(-(-len(subsets) // WORD), subsets.shape[1], dtype=torch.int64)
    for s, rows in enumerate(subsets):
        words[s // WORD] += rows.long() << s % WORD
    return words


def unpacked(words: Int[Tensor, "w n"], subsets: int) -> Bool[Tensor, "s n"]:
    """Return what `packed` packed.

    >>> unpacked(torch.tensor([[3, 2]]), 2)
    tensor([[ True, False],
            [ True,  True]])
    """
    return torch.stack([words[s // WORD] >> s % WORD & 1 for s in range(subsets)]).bool()


def count_subsets(words: Int[Tensor, "w p"], subsets: int) -> Int[Tensor, " s"]:
    """Return in how many of p sets each subset is: eight bits at once, by counting the values of bytes.

    >>> count_subsets(torch.tensor([[3, 2, 2]]), 2)
    tensor([1, 3])
    """
    values = torch.arange(256, device=words.device)
    bits = values[:, None] >> torch.arange(8, device=words.device) & 1
    counts = [
        (word >> shift & 255).bincount(minlength=256) @ bits for word in words for shift in range(0, WORD, 8)
    ]
    each = torch.cat(counts).unflatten(0, (len(words), 64))[:, :WORD]
    return each.flatten()[:subsets]


def join_into(sets: Int[Tensor, "w n"], index: Int[Tensor, " p"], words: Int[Tensor, "w p"]) -> None:
    """Join each of p sets to that of its place, in place.

    >>> sets = torch.tensor([[0, 4]])
    >>> join_into(sets, torch.tensor([1, 0, 1, 1]), torch.tensor([[1, 2, 2, 1]]))
    >>> sets
    tensor([[2, 7]])
    """
    for place, word in zip(sets, words, strict=True):
        at = index
        while len(at):
            fresh = (word & ~place[at]).nonzero()[:, 0]
            at, word = at[fresh], word[fresh]
            # Of several sets for one place any one is written, and each round writes one that is new there.
            place[at] = place[at] | word


def _signed_square(edge: Tensor) -> Tensor:
    return edge * edge.abs()
