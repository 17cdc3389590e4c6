"""Exact linear regions of a network on a plane through its input space.

A piecewise-linear network is affine wherever no neuron changes its piece. On the plane {origin + u·basis₀ + v·basis₁}
the first layer's neurons are zero on lines; each later neuron is zero on a line that bends where an earlier one does.
Layer by layer every cell is convex and every pre-activation is affine on it, so that a neuron cuts it along a chord:

1. evaluate the layer at the vertices; an edge whose ends differ in sign gets a vertex where the neuron is zero;
2. in each cell that has both signs, the neuron's two zeros on the border are joined by a chord;
3. two chords of a cell cross if their ends alternate around it; the crossings become vertices;
4. the cells of the refined graph are the cycles of its half-edges, and V − E + F = 1.

All cells are cut by all neurons of a layer at once, in float64 (compare Berzins 2023, "Polyhedral complex extraction
from ReLU networks using edge subdivision", and Humayun et al. 2023, "SplineCam"). A pre-activation within 1000
roundings of zero is zero: a line that goes through a vertex makes no second one, equal neurons draw one line, and a
neuron that is zero on a whole cell does not cut it.

What is counted are *activation regions* (Hanin & Rolnick 2019, "Deep ReLU networks have surprisingly few activation
patterns"): the function is affine on each, and may happen to be the same on two neighbours. A network of N ReLU with
He's initialisation has about N²/2 of them in a large window, far below the 2^N patterns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

import numpy as np
import torch
from jaxtyping import Float, Float64, Int8, Int16, Int64
from torch import Tensor, nn

from metrics.geometry._affine import affine_maps_at
from metrics.geometry._inputs import check_basis, check_point, check_window
from metrics.geometry._layers import Layers, Stage, chunks, layers_of
from metrics.geometry._refine import Born, refine
from metrics.geometry._subdivision import Subdivision, window_subdivision

__all__ = ["Cells", "PlaneRegions", "linear_regions_in_plane"]

Window = Sequence[float | int] | Sequence[Sequence[float | int]]


class Cells(Sequence[Tensor]):
    """The cells' vertices, counter-clockwise: `cells[i]` is an int64 tensor of rows of `vertices`.

    Attributes:
        flat: The vertices of all cells, one cell after the other.
        starts: Where each begins in `flat`, [cells + 1].
    """

    def __init__(self, flat: Tensor, starts: Tensor) -> None:
        self.flat, self.starts = flat, starts

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"cell {index} of {len(self)}")
        index %= len(self)
        return self.flat[int(self.starts[index]) : int(self.starts[index + 1])]

    def __repr__(self) -> str:
        return f"Cells({len(self)})"


@dataclass(frozen=True, eq=False)
class PlaneRegions:
    """A network's linear regions in a window of a plane, with its coordinates u = (u, v).

    Attributes:
        vertices: Corners of the cells, [V, 2].
        edges: Their ends in `vertices`, [E, 2].
        layers: The layer, from 1, whose neuron has its kink on the edge; 0 for the window's own edges, [E].
        sides: The cells to the left and to the right of each edge, −1 outside the window, [E, 2].
        cells: The vertices of each cell, counter-clockwise.
    """

    vertices: Float64[Tensor, "V 2"]
    edges: Int64[Tensor, "E 2"]
    layers: Int16[Tensor, " E"]
    sides: Int64[Tensor, "E 2"]
    cells: Cells
    _subdivision: Subdivision = field(repr=False)
    _network: Layers = field(repr=False)
    _origin: Tensor = field(repr=False)
    _basis: Tensor = field(repr=False)

    @property
    def count(self) -> int:
        """How many cells there are."""
        return len(self.cells)

    @cached_property
    def areas(self) -> Float64[Tensor, " cells"]:
        """Areas in units of the window, by the shoelace formula; they sum to the window's."""
        # About a corner of the cell, so that small cells far out do not cancel.
        turn = self.vertices[self.cells.flat] - self._per_corner(self.vertices[self.cells.flat[self._heads]])
        after = turn[self._successors]
        double = turn[:, 0] * after[:, 1] - turn[:, 1] * after[:, 0]
        return self._sums(double[:, None])[:, 0] / 2

    @cached_property
    def interior_points(self) -> Float64[Tensor, "cells 2"]:
        """One point inside each cell, the mean of its corners."""
        return self._sums(self.vertices[self.cells.flat]) / self.cells.starts.diff()[:, None]

    def patterns(self) -> Int8[Tensor, "cells neurons"]:
        """The piece that every neuron is on in each cell: how many of its kinks lie below the pre-activation.

        They are read at the interior points, where a cell as small as rounding may show its neighbour's.
        """
        parts = [self._network.pieces(self.lift(u)) for u in self._batches(self.interior_points)]
        return torch.cat(parts)

    def affine_maps(
        self, cells: Int64[Tensor, " k"] | None = None
    ) -> tuple[Float64[Tensor, "k outputs 2"], Float64[Tensor, "k outputs"]]:
        """Return (A, c) with network = A·u + c on each cell, for some cells or for all of them."""
        at = self.interior_points if cells is None else self.interior_points[cells]
        parts = [affine_maps_at(self._network, self.lift(u), u, self._basis) for u in self._batches(at)]
        return torch.cat([a for a, _ in parts]), torch.cat([c for _, c in parts])

    def outputs(self, coordinates: Float64[Tensor, "n 2"]) -> Float64[Tensor, "n outputs"]:
        """The network, in float64, at points of the plane; its outputs are flattened."""
        parts = [self._network(self.lift(u)).flatten(1) for u in self._batches(coordinates)]
        return torch.cat(parts)

    def lift(self, coordinates: Float64[Tensor, "n 2"]) -> Float64[Tensor, "n ..."]:
        """Inputs of the network from coordinates of the plane: origin + u·basis."""
        return self._origin + torch.tensordot(coordinates, self._basis, 1)

    def _batches(self, coordinates: Tensor) -> Iterator[Tensor]:
        widest = max(self._origin.numel(), 4096)
        return (coordinates[part] for part in chunks(len(coordinates), widest) or [slice(0, 0)])

    @property
    def _heads(self) -> Tensor:
        return self.cells.starts[:-1]

    @property
    def _successors(self) -> Tensor:
        """For each corner, in the order of `cells.flat`, the next one of its cell."""
        after = torch.arange(1, len(self.cells.flat) + 1)
        after[self.cells.starts[1:] - 1] = self._heads
        return after

    def _per_corner(self, rows: Tensor) -> Tensor:
        return rows.repeat_interleave(self.cells.starts.diff(), 0)

    def _sums(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(np.add.reduceat(rows.numpy(), self._heads.numpy()))


def linear_regions_in_plane(
    net: nn.Module,
    origin: Float[Tensor, "..."],
    basis: Float[Tensor, "2 ..."],
    window: Window,
) -> PlaneRegions:
    """Return every linear region of a network in a rectangle of a plane, exactly up to float64.

    Args:
        net: An `nn.Sequential` (nested ones too) of Linear, convolutions, BatchNorm in evaluation mode, average
            pooling, Flatten, Dropout in evaluation mode and ReLU, LeakyReLU, PReLU, Hardtanh, ReLU6, Hardsigmoid. A
            copy in float64 on the CPU does the work.
        origin: The plane's origin, one input without a batch, [*input].
        basis: Two independent directions, [2, *input]; orthonormal ones make areas those of the input space.
        window: (left, right, bottom, top), or ((left, right), (bottom, top)): the range of the coordinate along
            basis[0], then of that along basis[1].

    Returns:
        The cells with their vertices and edges. Time and memory are linear in the number of vertices times the width.

    Raises:
        TypeError, ValueError: A module without countable regions (its name and those that are served are told), a
            network in training mode, shapes that do not fit, parallel directions, an empty window.
        RuntimeError: Cells that contradict Euler's formula: lines closer than float64 resolves.

    >>> fold = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> _ = nn.init.zeros_(fold[0].bias), fold[0].weight.data.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 1]]))
    >>> linear_regions_in_plane(fold, torch.zeros(2), torch.eye(2), (-1, 1, -1, 1)).count  # three lines through 0
    6
    """
    with torch.no_grad():
        network = layers_of(net)
        start = check_point(origin, "origin", network)
        directions = check_basis(basis, start)
        plane = window_subdivision(*check_window(window))
        corners = start + torch.tensordot(torch.from_numpy(plane.points), directions, 1)
        return _result(_cut(plane, network, corners), network, start, directions)


def _cut(plane: Subdivision, network: Layers, corners: Tensor) -> Subdivision:
    stages = [stage for stage in network.stages if stage.activation is not None]
    inputs, shape, values = iter([(slice(0, len(corners)), corners)]), corners.shape[1:], np.empty((0, 0))
    for layer, stage in enumerate(stages, 1):
        values = _grown(values, len(plane.points), stage.width(shape))
        rounding = stage.evaluate(inputs, values)
        old, shape = len(values), rounding.shape
        plane, born = refine(plane, *stage.lines(values, rounding), layer)
        inputs = _activated(stage, born, values, old, shape)
    return plane


def _grown(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Room for the next layer's values: this one's memory, grown in place, where the width allows."""
    if columns != values.shape[1]:
        return np.empty((rows, columns))
    values.resize((rows, columns), refcheck=False)
    return values


def _activated(
    stage: Stage, born: Born, values: np.ndarray, old: int, shape: torch.Size
) -> Iterator[tuple[slice, Tensor]]:
    """The next layer's inputs at all vertices: pre-activations are linear on every cell before the cut.

    Nothing runs before the first input is asked for, and by then `values` may have grown beyond its `old` rows.
    """
    assert stage.activation is not None
    for rows, piece in born.pieces(values[:old]):
        yield rows, stage.activation(torch.from_numpy(piece).reshape(-1, *shape))


def _result(plane: Subdivision, network: Layers, origin: Tensor, basis: Tensor) -> PlaneRegions:
    flat, starts, sides, edges, points, layers = (
        torch.from_numpy(x)
        for x in (
            plane.origins[plane.loops],
            plane.starts,
            plane.cell_of.reshape(-1, 2),
            plane.edges,
            plane.points,
            plane.layers,
        )
    )
    cells = Cells(flat, starts)
    return PlaneRegions(points, edges, layers, sides, cells, plane, network, origin, basis)
