"""Exact linear regions of a network on a segment of its input space.

On the segment a + t(b − a), t ∈ [0, 1], a piecewise-linear network is a piecewise-linear function of t. Keep the sorted
breakpoints with the layer's values there; between two neighbours every pre-activation of the next layer is linear, so
that its zeros follow from the signs at the two ends: insert them, apply the activation, go on. Nothing is sampled.

What is counted are activation regions, as in the plane: intervals on which no neuron changes its piece. A network of N
ReLU with He's initialisation has about N breakpoints on a whole line, whatever its depth (Hanin & Rolnick 2019,
"Complexity of linear regions in deep networks"); a network built to fold, such as L tent maps one after the other, has
2^L regions.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float64, Int8, Int64
from torch import Tensor, nn

from metrics.geometry._affine import affine_maps_at
from metrics.geometry._inputs import check_point
from metrics.geometry._layers import Layers, Stage, layers_of
from metrics.geometry._refine import Born
from metrics.geometry._zeros import edge_zeros, signs_of

__all__ = ["LineRegions", "linear_regions_on_line", "polyline_breaks"]


@dataclass(frozen=True, eq=False)
class LineRegions:
    """A network's linear regions on the segment a + t(b − a).

    Attributes:
        breakpoints: Where a neuron changes its piece, ascending, strictly inside (0, 1), [K].
        layers: The first layer, from 1, that has a kink there, [K].
    """

    breakpoints: Float64[Tensor, " K"]
    layers: Int64[Tensor, " K"]
    _network: Layers = field(repr=False)
    _start: Tensor = field(repr=False)
    _direction: Tensor = field(repr=False)

    @property
    def count(self) -> int:
        """How many intervals there are: one more than breakpoints."""
        return len(self.breakpoints) + 1

    @property
    def interior_points(self) -> Float64[Tensor, " cells"]:
        """The middle of each interval."""
        ends = torch.cat([torch.zeros(1).double(), self.breakpoints, torch.ones(1).double()])
        return (ends[1:] + ends[:-1]) / 2

    def lift(self, t: Float64[Tensor, " n"]) -> Float64[Tensor, "n ..."]:
        """Inputs of the network from positions on the segment."""
        return self._start + torch.tensordot(t[:, None], self._direction[None], 1)

    def patterns(self) -> Int8[Tensor, "cells neurons"]:
        """The piece that every neuron is on in each interval: how many of its kinks lie below the pre-activation."""
        return self._network.pieces(self.lift(self.interior_points))

    def affine_maps(self) -> tuple[Float64[Tensor, "cells outputs"], Float64[Tensor, "cells outputs"]]:
        """Return (slope, offset) with network = slope·t + offset on each interval."""
        t = self.interior_points
        slope, offset = affine_maps_at(self._network, self.lift(t), t[:, None], self._direction[None])
        return slope[..., 0], offset

    def outputs(self, t: Float64[Tensor, " n"]) -> Float64[Tensor, "n outputs"]:
        """The network, in float64, at positions on the segment; its outputs are flattened."""
        return self._network(self.lift(t)).flatten(1)


def linear_regions_on_line(net: nn.Module, a: Tensor, b: Tensor) -> LineRegions:
    """Return every linear region of a network on the segment from a to b, exactly up to float64.

    Args:
        net: An `nn.Sequential` as for `linear_regions_in_plane`.
        a: Where the segment begins, one input without a batch, [*input].
        b: Where it ends, [*input].

    Raises:
        TypeError, ValueError: A module without countable regions (its name and those that are served are told), a
            network in training mode, points that do not fit or are the same.

    >>> tent = [nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)]  # 2·relu(x) − 4·relu(x − ½)
    >>> for p, value in zip(nn.Sequential(*tent).parameters(), ([[1.0], [1]], [0, -0.5], [[2.0, -4]], [0])):
    ...     _ = p.data.copy_(torch.tensor(value))
    >>> linear_regions_on_line(nn.Sequential(*tent * 5), torch.zeros(1), torch.ones(1)).count
    32
    """
    with torch.no_grad():
        network = layers_of(net)
        start, end = check_point(a, "a", network), check_point(b, "b", network)
        if start.shape != end.shape or bool((start == end).all()):
            raise ValueError(
                f"a and b must be two different points of one shape, got {list(start.shape)} and {list(end.shape)}"
            )
        t, layers = polyline_breaks(network, torch.stack([start, end]))
    return LineRegions(t[1:-1], layers[1:-1], network, start, end - start)


def polyline_breaks(
    network: Layers, points: Float64[Tensor, "n ..."]
) -> tuple[Float64[Tensor, " k"], Int64[Tensor, " k"]]:
    """Return the positions of a polyline's corners 0 … n − 1 and breakpoints, ascending, and the breakpoints' layers.

    >>> line = layers_of(nn.Sequential(nn.Identity(), nn.ReLU()))
    >>> polyline_breaks(line, torch.tensor([[-1.0], [1.0], [-3.0]]).double())[0]
    tensor([0.0000, 0.5000, 1.0000, 1.2500, 2.0000], dtype=torch.float64)
    """
    t, layers, rows = np.arange(len(points), dtype=np.float64), np.zeros(len(points), np.int64), points
    for layer, stage in enumerate(network.stages, 1):
        if stage.activation is not None:
            t, layers, rows = _cut(stage, layer, t, layers, rows)
    return torch.from_numpy(t), torch.from_numpy(layers)


def _cut(
    stage: Stage, layer: int, t: np.ndarray, layers: np.ndarray, rows: Tensor
) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Insert one layer's breakpoints, and return the layer's activations at all of them."""
    values = np.empty((len(t), stage.width(rows.shape[1:])))
    rounding = stage.evaluate([(slice(0, len(t)), rows)], values)
    lines, tolerance = stage.lines(values, rounding)
    segments = np.stack([np.arange(len(t) - 1), np.arange(1, len(t))], 1)
    zeros = edge_zeros(lines, segments, tolerance, signs_of(lines, tolerance))
    born = Born(segments[zeros.point_edge], zeros.share, len(zeros.share))
    # The points of one segment come in order, so a stable sort by the segment puts them in place.
    order = np.argsort(np.concatenate([np.arange(len(t)), zeros.point_edge + 0.5]), kind="stable")
    t = born.extend(t[:, None])[order, 0]
    layers = np.concatenate([layers, np.full(len(zeros.share), layer)])[order]
    full = torch.from_numpy(born.extend(values)[order]).reshape(-1, *rounding.shape)
    assert stage.activation is not None
    return t, layers, stage.activation(full)
