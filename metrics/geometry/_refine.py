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

    def pieces(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """What `extend` gives, piece by piece and never as a whole: old rows, then new ones."""
        old, columns = rows.shape
        for part in chunks(old, columns):
            yield rows[part]
        for part in chunks(self.inside_edges, columns):
            yield _between(rows, self.segments[part], self.shares[part])
        for part in chunks(len(self.shares) - self.inside_edges, columns):
            new = slice(self.inside_edges + part.start, self.inside_edges + part.stop)
            ends = self._rows_of(rows, self.segments[new, 0])
            ends += self.shares[new, None] * (self._rows_of(rows, self.segments[new, 1]) - ends)
            yield ends

    def _rows_of(self, rows: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        """Rows of old vertices and of those inside old edges."""
        point = vertices - len(rows)
        known = point < 0
        point[known] = 0
        segments = np.where(known[:, None], vertices[:, None], self.segments[point])
        return _between(rows, segments, np.where(known, 0.0, self.shares[point]))


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
    old_edges, parent = _split_edges(plane, zeros)
    new_edges, cut = _split_chords(chords, crossings, len(points))
    along = heads - tails
    angles = np.concatenate([plane.angles[parent], np.arctan2(along[:, 1], along[:, 0])[cut]])
    layers = np.concatenate([plane.layers[parent], np.full(len(cut), layer, plane.layers.dtype)])
    edges = np.concatenate([old_edges, new_edges])
    return assemble(born.extend(plane.points), edges, angles, layers), born


def _split_edges(plane: Subdivision, zeros: EdgeZeros) -> tuple[np.ndarray, np.ndarray]:
    """The pieces of the old edges, and the edge that each is a piece of."""
    counts = np.bincount(zeros.point_edge, minlength=len(plane.edges))
    middle = len(plane.points) + np.arange(len(zeros.share))
    sources, targets, parent = links(plane.edges[:, 0], plane.edges[:, 1], counts, middle)
    return np.stack([sources, targets], 1), parent


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
