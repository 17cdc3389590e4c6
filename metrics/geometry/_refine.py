"""One layer's refinement of a planar subdivision: every cell cut by the lines on which a neuron is zero."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from metrics.geometry._chords import Chords, Crossings, chords_of, crossings_of
from metrics.geometry._layers import ROUNDING, chunks
from metrics.geometry._ragged import links
from metrics.geometry._subdivision import Subdivision, assemble
from metrics.geometry._zeros import EdgeZeros, edge_zeros, signs_of


@dataclass(frozen=True, eq=False)
class Born:
    """New vertices as points of segments: inside edges of the old vertices, then inside chords of all before.

    Attributes:
        segments: The ends of each one's segment, [N, 2].
        shares: How far along it, [N].
        inside_edges: How many come from edges; their ends are old vertices.
    """

    segments: np.ndarray
    shares: np.ndarray
    inside_edges: int

    def extend(self, rows: np.ndarray) -> np.ndarray:
        """Rows [V, n] that are linear on every old cell, with those of the new vertices after them."""
        old, columns = rows.shape
        full = np.empty((old + len(self.shares), columns))
        full[:old] = rows
        for begin, end in ((0, self.inside_edges), (self.inside_edges, len(self.shares))):
            for part in chunks(end - begin, columns):
                new = slice(begin + part.start, begin + part.stop)
                full[old + new.start : old + new.stop] = _between(full, self.segments[new], self.shares[new])
        return full

    def pieces(self, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """What `extend` gives, piece by piece and never as a whole, with its place there.

        The new rows come first, and each old one is read only when its own piece comes: then it may be overwritten.
        """
        old, columns = rows.shape
        for part in chunks(self.inside_edges, columns):
            yield _moved(part, old), _between(rows, self.segments[part], self.shares[part])
        for part in chunks(len(self.shares) - self.inside_edges, columns):
            new = _moved(part, self.inside_edges)
            ends = self._rows_of(rows, self.segments[new, 0])
            ends += self.shares[new, None] * (self._rows_of(rows, self.segments[new, 1]) - ends)
            yield _moved(new, old), ends
        for part in chunks(old, columns):
            yield part, rows[part]

    def _rows_of(self, rows: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        """Rows of old vertices and of those inside old edges."""
        point = vertices - len(rows)
        known = point < 0
        point[known] = 0
        segments = np.where(known[:, None], vertices[:, None], self.segments[point])
        return _between(rows, segments, np.where(known, 0.0, self.shares[point]))


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _between(rows: np.ndarray, segments: np.ndarray, shares: np.ndarray) -> np.ndarray:
    a, b = rows[segments[:, 0]], rows[segments[:, 1]]
    b -= a
    b *= shares[:, None]
    a += b
    return a


def refine(
    plane: Subdivision, values: np.ndarray, rounding: np.ndarray, layer: int
) -> tuple[Subdivision, Born]:
    """Cut every cell by the zero sets of values that are linear on it.

    Args:
        plane: The cells.
        values: One column per line at each vertex, [V, n]; values within the rounding become zero in place.
        rounding: What is zero in each column, [n].
        layer: The mark of the new edges.
    """
    signs = signs_of(values, rounding)
    zeros = edge_zeros(values, plane.edges, rounding, signs)
    chords = chords_of(plane, zeros, signs)
    on_edges = Born(plane.edges[zeros.point_edge], zeros.share, len(zeros.share))
    points = on_edges.extend(plane.points)
    tails, heads = points[chords.ends.T]
    crossings = crossings_of(chords, tails, heads, ROUNDING * float(np.abs(plane.points).max()))
    chord, share = crossings.where
    born = Born(
        np.concatenate([on_edges.segments, chords.ends[chord]]),
        np.concatenate([on_edges.shares, share]),
        on_edges.inside_edges,
    )
    return _assembled(plane, zeros, chords, crossings, born, layer), born


def _assembled(
    plane: Subdivision, zeros: EdgeZeros, chords: Chords, crossings: Crossings, born: Born, layer: int
) -> Subdivision:
    old_edges, parent = _split_edges(plane, zeros)
    new_edges, cut = _split_chords(chords, crossings, len(plane.points) + born.inside_edges)
    of_edges = _turns_of_edges(plane, old_edges, parent)
    of_chords = _turns_of_chords(plane, chords, new_edges, cut)
    layers = np.concatenate([plane.layers[parent], np.full(len(cut), layer, plane.layers.dtype)])
    edges, turns = np.concatenate([old_edges, new_edges]), np.concatenate([of_edges, of_chords])
    return assemble(born.extend(plane.points), edges, turns, layers)


def _split_edges(plane: Subdivision, zeros: EdgeZeros) -> tuple[np.ndarray, np.ndarray]:
    """The pieces of the old edges, and the edge that each is a piece of."""
    counts = np.bincount(zeros.point_edge, minlength=len(plane.edges))
    middle = len(plane.points) + np.arange(len(zeros.share))
    sources, targets, parent = links(plane.edges[:, 0], plane.edges[:, 1], counts, middle)
    return np.stack([sources, targets], 1), parent


def _turns_of_edges(plane: Subdivision, pieces: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """The order of the pieces around the old vertices is as before; around a new one, forwards is before backwards."""
    old, turns = pieces < len(plane.points), plane.turns
    before = np.stack([turns[2 * parent], turns[2 * parent + 1]], 1)
    degree = plane.degrees[np.where(old, pieces, 0)]
    return np.where(old, before, [0, 1]) / np.where(old, degree, 2)


def _turns_of_chords(
    plane: Subdivision, chords: Chords, pieces: np.ndarray, parent: np.ndarray
) -> np.ndarray:
    """Where chords stand around their ends and around each other's crossings.

    Around a crossing they have the order of their ends around the cell. Around an end on the cell's border they come
    after the half-edge of that border which leaves it, in the order in which the border meets their other ends.
    """
    size = plane.sizes[chords.cell].astype(np.float64)
    span = (chords.high - chords.low) / size
    turns = np.empty(pieces.shape)
    before, degree = plane.turns, plane.degrees
    for side, (place, other, gap) in enumerate(
        ((chords.low, chords.high, span), (chords.high, chords.low, 1 - span))
    ):
        border = plane.loops[plane.starts[chords.cell] + place.astype(np.int64)]
        end = chords.ends[:, side]
        vertex = end < len(plane.points)
        sector = np.where(vertex, before[border], border & 1)
        at_end = (sector + gap) / np.where(vertex, degree[np.where(vertex, end, 0)], 2)
        turns[:, side] = np.where(pieces[:, side] == end[parent], at_end[parent], (other / size)[parent])
    return turns


def _split_chords(chords: Chords, crossings: Crossings, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """The pieces of the chords between their crossings, and the chord that each is a piece of."""
    counts = np.bincount(crossings.chord, minlength=len(chords.cell))
    sources, targets, parent = links(chords.ends[:, 0], chords.ends[:, 1], counts, vertices + crossings.point)
    pieces = np.stack([sources, targets], 1)
    merged = len(crossings.point) > 2 * len(crossings.where[0])
    if merged:
        kept = _without_doubles(pieces)
        pieces, parent = pieces[kept], parent[kept]
    return pieces, parent


def _without_doubles(pieces: np.ndarray) -> np.ndarray:
    """Pieces of positive length, each once: where crossings were merged, two chords may share a stretch."""
    long = np.flatnonzero(pieces[:, 0] != pieces[:, 1])
    _, first = np.unique(np.sort(pieces[long], 1), axis=0, return_index=True)
    return long[np.sort(first)]
