"""Where columns of values, linear along each edge, are zero: inside edges and at vertices.

Signs are kept as bits, 64 columns to a word, so that looking for sign changes on every edge costs a few bytes per
edge and not a float per edge and column.
"""

from dataclasses import dataclass

import numpy as np

from metrics.geometry._layers import chunks
from metrics.geometry._ragged import runs

WORD = 64


@dataclass(frozen=True, eq=False)
class Signs:
    """Bits [V, words]: which values are above and below zero; `zero` are those that are neither."""

    above: np.ndarray
    below: np.ndarray
    columns: int

    def at(self, vertices: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """−1, 0 or 1 for each pair."""
        word, bit = columns // WORD, (columns % WORD).astype(np.uint64)
        up, down = ((bits[vertices, word] >> bit) & np.uint64(1) for bits in (self.above, self.below))
        return up.astype(np.int8) - down.astype(np.int8)

    def zeros(self) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (vertex, column) where a column that has both signs somewhere is zero."""
        both = np.bitwise_or.reduce(self.above) & np.bitwise_or.reduce(self.below)
        return _entries(~(self.above | self.below) & both)


@dataclass(frozen=True, eq=False)
class EdgeZeros:
    """Zeros inside edges, sorted along each edge; zeros that lie together within rounding are one point.

    Attributes:
        edge: The edge of each zero, [Z].
        column: Its column, [Z].
        point: The point that it lies at, [Z].
        point_edge: The edge of each point, [P], ascending.
        share: How far along the edge the point lies, strictly inside (0, 1), [P].
    """

    edge: np.ndarray
    column: np.ndarray
    point: np.ndarray
    point_edge: np.ndarray
    share: np.ndarray


def signs_of(values: np.ndarray, rounding: np.ndarray) -> Signs:
    """Signs of values [V, n]; those within the rounding [n] of zero are set to zero."""
    rows, columns = values.shape
    words = -(-columns // WORD)
    above, below = np.zeros((2, rows, words), np.uint64)
    for part in chunks(rows, columns):
        for bits, mask in ((above, values[part] > rounding), (below, values[part] < -rounding)):
            packed = np.packbits(mask, axis=1, bitorder="little")
            bits[part].view(np.uint8)[:, : packed.shape[1]] = packed
    signs = Signs(above, below, columns)
    row, column = _entries(~(above | below))
    real = column < columns
    values[row[real], column[real]] = 0.0
    return signs


def edge_zeros(values: np.ndarray, edges: np.ndarray, rounding: np.ndarray, signs: Signs) -> EdgeZeros:
    """The sign changes between the ends of edges [E, 2]."""
    found = []
    for part in chunks(len(edges), 4 * signs.above.shape[1]):
        a, b = edges[part].T
        change = (signs.above[a] & signs.below[b]) | (signs.below[a] & signs.above[b])
        edge, column = _entries(change)
        found.append((edge + part.start, column))
    edge, column = (np.concatenate(kind) for kind in zip(*found, strict=True))
    from_, to = values[edges[edge, 0], column], values[edges[edge, 1], column]
    share, width = from_ / (from_ - to), rounding[column] / np.abs(from_ - to)
    order = np.lexsort((share, edge))
    edge, column, share, width = edge[order], column[order], share[order], width[order]
    apart = np.ones(len(edge), bool)
    apart[1:] = (edge[1:] != edge[:-1]) | (np.diff(share) > np.maximum(width[1:], width[:-1]))
    point = apart.cumsum() - 1
    # A share of exactly 0 or 1 would be a vertex: ends far apart in size can round there.
    inside = np.clip(share[apart], np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    return EdgeZeros(edge, column, point, edge[apart], inside)


def places(zeros: EdgeZeros) -> tuple[np.ndarray, np.ndarray]:
    """For each point its place (k + 1)/(m + 1) among the m points of its edge, from either end."""
    starts, sizes = runs(zeros.point_edge)
    total = np.repeat(sizes, sizes) + 1.0
    place = np.arange(len(zeros.point_edge)) - np.repeat(starts, sizes) + 1.0
    return place / total, (total - place) / total


def _entries(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the bits that are set, by rows."""
    row, word = np.nonzero(bits)
    unpacked = np.unpackbits(bits[row, word].view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    which, bit = np.nonzero(unpacked)
    return row[which], word[which] * WORD + bit
