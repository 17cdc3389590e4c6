"""Folding a sheet: n creases side by side leave n(n+1)/2 + 1 regions, n folds one after another leave 2ⁿ.

A ReLU layer creases the plane along one line per neuron. Neurons of one layer crease the flat sheet; neurons of the
next layer crease the sheet as it lies folded, and so every crease of theirs shows once on each sheet of paper below.
A crease takes one neuron, a fold two, |x| = relu(x) + relu(−x): at N neurons it is 2^(N/2) against N(N+1)/2 + 1.
The networks here are built by hand so that the counter of `metrics.geometry` finds exactly those numbers.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from metrics.geometry import PlaneRegions, linear_regions_in_plane, linear_regions_on_line

__all__ = ["dragon_curve", "line_folds", "parallel_regions", "plane_folds", "successive_regions"]

SQUARE = (-1, 1, -1, 1)
DELTOID = 0.3
"""A third of the distance of its cusps from the centre: all crossings lie in the square."""


def parallel_regions(n: int) -> PlaneRegions:
    """Count n creases of the flat plane, tangents of a deltoid: every two cross inside it and no three meet.

    The tangent at angle θ is x cos θ + y sin θ = r cos 3θ. Three of them meet where their angles sum to π/2 modulo π
    (the product of the three roots of their equation in e^{2iθ} is −1), which these angles never do.
    """
    angle = math.pi / n * (torch.arange(n, dtype=torch.float64) + 0.25)
    layer = nn.Linear(2, n, dtype=torch.float64)
    layer.weight.data, layer.bias.data = (
        torch.stack([angle.cos(), angle.sin()], 1),
        -DELTOID * (3 * angle).cos(),
    )
    return linear_regions_in_plane(nn.Sequential(layer, nn.ReLU()), torch.zeros(2), torch.eye(2), SQUARE)


def successive_regions(n: int) -> int:
    """Count the intervals of [−1, 1] after n folds in the middle."""
    return linear_regions_on_line(line_folds(n), torch.tensor([-1.0]), torch.tensor([1.0])).count


def line_folds(n: int) -> nn.Sequential:
    """The map x ↦ 2|x| − 1, n times."""
    return _folds(n, 1)


def plane_folds(n: int) -> PlaneRegions:
    """Count n layers that fold the square along both axes, (x, y) ↦ (2|x| − 1, 2|y| − 1)."""
    return linear_regions_in_plane(_folds(n, 2), torch.zeros(2), torch.eye(2), SQUARE)


def _folds(n: int, inputs: int) -> nn.Sequential:
    eye, layers = torch.eye(inputs, dtype=torch.float64), []
    for _ in range(n):
        crease = nn.Linear(inputs, 2 * inputs, bias=False, dtype=torch.float64)
        crease.weight.data = torch.cat([eye, -eye])
        stretch = nn.Linear(2 * inputs, inputs, dtype=torch.float64)
        stretch.weight.data, stretch.bias.data = (
            torch.cat([2 * eye, 2 * eye], 1),
            -torch.ones(inputs).double(),
        )
        layers += [crease, nn.ReLU(), stretch]
    return nn.Sequential(*layers)


def dragon_curve(n: int) -> Tensor:
    """The corners of a strip folded n times and opened to right angles, [2ⁿ + 1, 2].

    >>> dragon_curve(1).tolist()
    [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
    """
    points = np.array([0, 1 + 0j], np.complex128)
    for _ in range(n):
        # The upper half is the lower one, turned about the crease.
        points = np.concatenate([points, points[-1] - 1j * (points[-2::-1] - points[-1])])
    return torch.from_numpy(np.stack([np.real(points), np.imag(points)], 1))
