"""The chords that lines cut out of convex cells, and where chords of one cell cross.

A column of values is linear on each cell, so its zero set there is a chord between two points of the cell's border,
if the column has both signs on the cell. Whether two chords cross is read from the order of their four ends around the
cell, which rounding cannot make contradictory; only *where* they cross is computed.
"""

from dataclasses import dataclass

import numpy as np

from metrics.geometry._ragged import pairs_within, runs
from metrics.geometry._subdivision import Subdivision
from metrics.geometry._zeros import EdgeZeros, Signs, places


@dataclass(frozen=True, eq=False)
class Chords:
    """Chords, sorted by cell.

    Attributes:
        cell: [K].
        column: The column that is zero on it; of equal chords the first, [K].
        ends: Vertices, or V + the number of a point inside an edge, [K, 2].
        low: The place of the first end on the cell's border, [K].
        high: The place of the second, low < high, [K].
    """

    cell: np.ndarray
    column: np.ndarray
    ends: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class Crossings:
    """Points where chords of one cell cross.

    Attributes:
        chord: The chord that each passage belongs to, ascending, [2X].
        point: The crossing that it passes, in order along the chord, [2X].
        where: A chord through each crossing and how far along it that lies, ([P], [P]).
    """

    chord: np.ndarray
    point: np.ndarray
    where: tuple[np.ndarray, np.ndarray]


def chords_of(plane: Subdivision, zeros: EdgeZeros, signs: Signs, *, distinct: bool = True) -> Chords:
    """Join the zeros on the border of each cell; `distinct` keeps one of the chords that coincide."""
    cell, column, place, end, vertex = _border_zeros(plane, zeros, signs)
    order = np.argsort(cell * signs.columns + column, kind="stable")
    cell, column, place, end, vertex = (x[order] for x in (cell, column, place, end, vertex))
    starts, sizes = runs(cell * signs.columns + column)
    plain = sizes == 2
    if vertex.any():
        plain &= ~np.logical_or.reduceat(vertex, starts)
    first, second = starts[plain], starts[plain] + 1
    odd = np.flatnonzero(~plain)
    if len(odd):
        odd = odd[_both_signs(plane, signs, cell[starts[odd]], column[starts[odd]])]
        two, more = starts[odd[sizes[odd] == 2]], odd[sizes[odd] != 2]
        joined = [
            _transitions(plane, signs, place, slice(starts[g], starts[g] + sizes[g]), cell, column)
            for g in more
        ]
        extra = np.array(joined, np.int64).reshape(-1, 2)
        first, second = np.r_[first, two, extra[:, 0]], np.r_[second, two + 1, extra[:, 1]]
    swap = place[first] > place[second]
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    order = np.lexsort((place[second], place[first], cell[first]))
    first, second = first[order], second[order]
    if distinct and len(first):
        same = (np.diff(cell[first]) == 0) & (np.diff(end[first]) == 0) & (np.diff(end[second]) == 0)
        keep = np.r_[True, ~same]
        first, second = first[keep], second[keep]
    ends = np.stack([end[first], end[second]], 1)
    return Chords(cell[first], column[first], ends, place[first], place[second])


def crossings_of(chords: Chords, tails: np.ndarray, heads: np.ndarray, rounding: float) -> Crossings:
    """Cross the chords of each cell, which run from `tails` to `heads` [K, 2].

    Crossings on one chord that are closer than `rounding`, a length across the other chords, are one.
    """
    i, j = pairs_within(runs(chords.cell)[1])
    # Chords are sorted by their first end, so low[i] ≤ low[j].
    across = (
        (chords.low[i] < chords.low[j]) & (chords.low[j] < chords.high[i]) & (chords.high[i] < chords.high[j])
    )
    i, j = i[across], j[across]
    along, gap = heads - tails, tails[j] - tails[i]
    area = _cross(along[i], along[j])
    parallel = area == 0
    area = np.where(parallel, 1.0, area)
    s, t = _cross(gap, along[j]) / area, _cross(gap, along[i]) / area
    s, t = (np.clip(np.where(parallel, 0.5, x), 0.0, 1.0) for x in (s, t))
    length = np.hypot(*along.T)
    chord, passing = np.r_[i, j], np.r_[np.arange(len(i)), np.arange(len(i))]
    share = np.r_[s, t]
    width = rounding * np.r_[length[j], length[i]] / np.abs(np.r_[area, area])
    order = np.lexsort((share, chord))
    chord, passing, share, width = chord[order], passing[order], share[order], width[order]
    close = (np.diff(chord) == 0) & (np.diff(share) <= np.maximum(width[1:], width[:-1]))
    point = np.arange(len(i))
    if close.any():
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        links = coo_array((np.ones(close.sum()), (passing[:-1][close], passing[1:][close])), (len(i),) * 2)
        point = connected_components(links, directed=False)[1]
    _, one = np.unique(point, return_index=True)
    return Crossings(chord, point[passing], (i[one], s[one]))


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]


def _border_zeros(
    plane: Subdivision, zeros: EdgeZeros, signs: Signs
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cell, column, place on the border, end and whether it is a vertex, for each zero and each cell beside it."""
    found = []
    for side, place in enumerate(places(zeros)):
        half_edge = 2 * zeros.edge + side
        kept = plane.cell_of[half_edge] >= 0
        half_edge, point = half_edge[kept], zeros.point[kept]
        where = plane.rank[half_edge] + place[point]
        end = len(plane.points) + point
        found.append((plane.cell_of[half_edge], zeros.column[kept], where, end, np.zeros(len(end), bool)))
    vertex, column = signs.zeros()
    degree = np.diff(plane.first)[vertex]
    owner = np.repeat(np.arange(len(vertex)), degree)
    turn = np.arange(len(owner)) - np.repeat(degree.cumsum() - degree, degree)
    half_edge = plane.around[plane.first[vertex[owner]] + turn]
    kept = plane.cell_of[half_edge] >= 0
    half_edge, owner = half_edge[kept], owner[kept]
    where = plane.rank[half_edge].astype(np.float64)
    here = np.ones(len(owner), bool)
    found.append((plane.cell_of[half_edge], column[owner], where, vertex[owner], here))
    cell, column, place, end, here = (np.concatenate(kind) for kind in zip(*found, strict=True))
    return cell, column, place, end, here


def _both_signs(plane: Subdivision, signs: Signs, cells: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Whether a column is above zero somewhere in a cell and below it elsewhere."""
    corners, sizes = plane.corners(cells)
    sign = signs.at(plane.origins[corners], np.repeat(columns, sizes))
    starts = sizes.cumsum() - sizes
    return (np.maximum.reduceat(sign, starts) > 0) & (np.minimum.reduceat(sign, starts) < 0)


def _transitions(
    plane: Subdivision, signs: Signs, place: np.ndarray, group: slice, cell: np.ndarray, column: np.ndarray
) -> tuple[int, int]:
    """The two zeros, of one cell's, at which the sign changes around a cell that touches the line."""
    corners, _ = plane.corners(cell[group][:1])
    sign = signs.at(plane.origins[corners], np.full(len(corners), column[group][0]))
    zeros = {float(place[k]): k for k in range(group.start, group.stop)}
    origin = int(np.flatnonzero(sign)[0])
    last, waiting, found = sign[origin], None, []
    for step in range(1, len(corners) + 1):
        here, there = (origin + step - 1) % len(corners), (origin + step) % len(corners)
        inside = [k for at, k in zeros.items() if here < at < here + 1]
        waiting = inside[0] if inside else waiting
        if sign[there] == 0:
            waiting = zeros[float(there)] if waiting is None else waiting
            continue
        if sign[there] != last:
            found.append(waiting)
        last, waiting = sign[there], None
    if len(found) != 2 or None in found:
        raise RuntimeError(
            "a line crosses the border of a convex cell more than twice; lines of the network are closer than float64 "
            "resolves: shift the window a little or scale the weights"
        )
    return found[0], found[1]
