"""A planar subdivision into convex cells, as half-edges.

Edge e runs from a to b; half-edge 2e is a → b and 2e + 1 is b → a, so that h and h ^ 1 are twins. A half-edge belongs
to the cell on its left. Around each vertex the half-edges that leave it have a counter-clockwise order; behind h = u
→ v the cell's border goes on with the half-edge that leaves v next clockwise from the twin v → u. The cells are the
cycles of that permutation. The order is combinatorial: who refines a subdivision tells it from what it knows of the
cells, and no angle is computed that rounding could turn round.
"""

from dataclasses import dataclass

import numpy as np

from metrics.geometry._ragged import counted

WINDOW = 0
"""The layer of the window's own edges, whose right side is outside."""


@dataclass(frozen=True, eq=False)
class Subdivision:
    """Vertices, edges and cells of a convex window.

    Attributes:
        points: Coordinates, [V, 2].
        edges: Ends a and b, [E, 2]; the window's edges run counter-clockwise.
        layers: The layer (from 1) whose neuron is zero on an edge, or `WINDOW`, [E].
        cell_of: The cell to the left of each half-edge, −1 outside the window, [2E].
        rank: The half-edge's place on the border of its cell, [2E].
        loops: The half-edges of all cells, counter-clockwise, cell after cell.
        starts: Where each cell begins in `loops`, [F + 1].
        around: Half-edges by the vertex that they leave, counter-clockwise, [2E].
        first: Where each vertex begins in `around`, [V + 1].
    """

    points: np.ndarray
    edges: np.ndarray
    layers: np.ndarray
    cell_of: np.ndarray
    rank: np.ndarray
    loops: np.ndarray
    starts: np.ndarray
    around: np.ndarray
    first: np.ndarray

    @property
    def origins(self) -> np.ndarray:
        """The vertex that each half-edge leaves, [2E]."""
        return self.edges.ravel()

    @property
    def sizes(self) -> np.ndarray:
        """How many corners each cell has, [F]."""
        return np.diff(self.starts)

    @property
    def degrees(self) -> np.ndarray:
        """How many edges meet at each vertex, [V]."""
        return np.diff(self.first)

    @property
    def turns(self) -> np.ndarray:
        """How many half-edges come before each one around the vertex that it leaves, [2E]."""
        slots = np.empty_like(self.around)
        slots[self.around] = np.arange(len(slots))
        return slots - self.first[self.origins]

    def corners(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The half-edges of some cells one after the other, and their numbers."""
        sizes = self.starts[cells + 1] - self.starts[cells]
        return self.loops[np.repeat(self.starts[cells], sizes) + counted(sizes)], sizes


def window_subdivision(left: float, right: float, bottom: float, top: float) -> Subdivision:
    """One cell, a rectangle."""
    points = np.array([[left, bottom], [right, bottom], [right, top], [left, top]])
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    turns = np.array([[0.0, 0.5]] * 4)
    return assemble(points, edges, turns, np.full(4, WINDOW, np.int16))


def assemble(points: np.ndarray, edges: np.ndarray, turns: np.ndarray, layers: np.ndarray) -> Subdivision:
    """Find the cells of a connected planar graph, and hold it against Euler's formula.

    Args:
        points: Coordinates of the vertices, [V, 2].
        edges: Their ends, [E, 2].
        turns: Where the half-edges a → b and b → a stand in the order around the vertex that they leave: numbers in
            [0, 1) that grow counter-clockwise, [E, 2].
        layers: The mark of each edge, [E].

    Raises:
        RuntimeError: V − E + F ≠ 1 (F without the outside): rounding has put crossings in an impossible order.
    """
    around, first, following = _next_half_edges(len(points), edges, turns)
    outside = np.flatnonzero(layers == WINDOW) * 2 + 1
    following[outside] = outside
    heads = _cycle_heads(following)
    keep = np.ones(len(following), bool)
    keep[outside] = False
    heads = heads[keep[heads]]
    cell_of, rank = np.full(len(following), -1), np.zeros(len(following), np.int64)
    at, cells, place = heads, np.arange(len(heads)), 0
    while len(at):
        cell_of[at], rank[at] = cells, place
        at, place = following[at], place + 1
        open_ = at != heads[cells]
        at, cells = at[open_], cells[open_]
    inside = np.flatnonzero(keep)
    starts = np.r_[0, np.bincount(cell_of[inside], minlength=len(heads)).cumsum()]
    loops = np.empty(len(inside), np.int64)
    loops[starts[cell_of[inside]] + rank[inside]] = inside
    if len(points) - len(edges) + len(heads) != 1:
        raise RuntimeError(
            f"the cells contradict Euler's formula: {len(points)} − {len(edges)} + {len(heads)} ≠ 1; lines of the "
            "network are closer than float64 resolves: shift the window a little or scale the weights"
        )
    return Subdivision(points, edges, layers, cell_of, rank, loops, starts, around, first)


def _next_half_edges(
    vertices: int, edges: np.ndarray, turns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half-edges around each vertex, where each vertex begins, and the successor on the left of each half-edge."""
    origins, turn = edges.ravel(), turns.ravel()
    if vertices < 1 << 23:
        # One integer sorts faster than two keys, and 40 bits hold more places than a border has.
        around = np.argsort((origins << 40) | (turn * 2**40).astype(np.int64))
    else:
        around = np.lexsort((turn, origins))
    first = np.r_[0, np.bincount(origins, minlength=vertices).cumsum()]
    clockwise = np.empty_like(around)
    clockwise[around[1:]] = around[:-1]
    clockwise[around[first[:-1]]] = around[first[1:] - 1]
    return around, first, clockwise[np.arange(len(origins)) ^ 1]


def _cycle_heads(following: np.ndarray) -> np.ndarray:
    """The least member of each cycle of a permutation, by doubling the stretch that each member sees."""
    # Half the bytes for the scattered reads, which are what this costs.
    kind = np.int32 if len(following) < 1 << 31 else np.int64
    least, hop = np.arange(len(following), dtype=kind), following.astype(kind)
    while True:
        seen = np.minimum(least, least[hop])
        if np.array_equal(seen, least):
            return np.flatnonzero(least == np.arange(len(least)))
        least, hop = seen, hop[hop]
