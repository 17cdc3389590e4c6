"""Slow, plainly correct forms: polygons split one by one, and networks whose regions can be counted by hand."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from metrics.geometry.jets import Circle

ZERO = 1e-11
"""Above the rounding of these small networks, below every cell that the tests have."""


@torch.no_grad()
def polygons(net: nn.Module, lift, window: tuple[float, float, float, float]) -> list[Tensor]:
    """All cells of a small network: each neuron splits each polygon by its sign at the polygon's corners."""
    left, right, bottom, top = window
    cells = [torch.tensor([[left, bottom], [right, bottom], [right, top], [left, top]], dtype=torch.float64)]
    modules = list(net.double())
    for depth, module in enumerate(modules):
        kinks = {nn.Hardtanh: (-1.0, 1.0), nn.ReLU6: (0.0, 6.0)}.get(type(module), (0.0,))
        if not isinstance(module, nn.ReLU | nn.LeakyReLU | nn.Hardtanh):
            continue
        head = nn.Sequential(*modules[:depth])
        neurons = head(lift(cells[0]))[0].numel()
        for j in range(neurons):
            for kink in kinks:
                split = []
                for cell in cells:
                    split += halves(cell, head(lift(cell)).flatten(1)[:, j] - kink)
                cells = split
    return cells


def halves(cell: Tensor, value: Tensor) -> list[Tensor]:
    if bool((value > -ZERO).all()) or bool((value < ZERO).all()):
        return [cell]
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    for i in range(len(cell)):
        k = (i + 1) % len(cell)
        for sign, side in zip((1, -1), sides, strict=True):
            if sign * value[i] > -ZERO:
                side.append(cell[i])
        if (value[i] > ZERO and value[k] < -ZERO) or (value[i] < -ZERO and value[k] > ZERO):
            at = value[i] / (value[i] - value[k])
            point = cell[i] + at * (cell[k] - cell[i])
            for side in sides:
                side.append(point)
    return [torch.stack(side) for side in sides]


def area(cell: Tensor) -> float:
    x, y = (cell - cell[0]).T
    return 0.5 * float((x * y.roll(-1) - x.roll(-1) * y).sum())


def random_network(*widths: int, seed: int = 0, activation: nn.Module | None = None) -> nn.Sequential:
    """He weights and biases of size 0.5, so that few regions lie outside a window of a few units."""
    gen = torch.Generator().manual_seed(seed)
    modules: list[nn.Module] = []
    for into, out in pairwise(widths):
        linear = nn.Linear(into, out)
        with torch.no_grad():
            linear.weight.copy_((2 / into) ** 0.5 * torch.randn(out, into, generator=gen))
            linear.bias.copy_(0.5 * torch.randn(out, generator=gen))
        modules += [linear, nn.ReLU() if activation is None else activation]
    return nn.Sequential(*modules[:-1])


def linear(weight, bias=None) -> nn.Linear:
    """A linear layer with these numbers."""
    matrix = torch.as_tensor(weight, dtype=torch.float64)
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(matrix)
        layer.bias.copy_(
            torch.zeros(len(matrix)) if bias is None else torch.as_tensor(bias, dtype=torch.float64)
        )
    return layer


def tents(depth: int) -> nn.Sequential:
    """The tent map of [0, 1], `depth` times: 2^depth regions."""
    tent = [linear([[1.0], [1.0]], [0.0, -0.5]), nn.ReLU(), linear([[2.0, -4.0]])]
    return nn.Sequential(*tent * depth)


def folds(depth: int) -> nn.Sequential:
    """x ↦ |2|x| − 1| for both coordinates of the plane, by ReLU(x) + ReLU(−x): 4^depth regions in [−1, 1]²."""
    split = linear([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    modules: list[nn.Module] = [split, nn.ReLU()]
    join = torch.tensor([[2.0, 2, 0, 0], [0, 0, 2, 2]])
    for _ in range(depth - 1):
        both = split.weight.detach().float() @ join
        modules += [linear(both, [-1.0, 1, -1, 1]), nn.ReLU()]
    return nn.Sequential(*modules, linear(join, [-1.0, -1]))


def unit_circle(d, gen, radius=1.0):
    first, second = torch.linalg.qr(torch.randn(d, 2, dtype=torch.float64, generator=gen))[0].T * radius
    return Circle(torch.zeros(d).double(), first, second)


def tanh_network(*widths, gen, gain=2.5):
    modules = []
    for into, out in pairwise(widths):
        weight = gain / into**0.5 * torch.randn(out, into, generator=gen)
        modules += [linear(weight, 0.3 * torch.randn(out, generator=gen)), nn.Tanh()]
    return nn.Sequential(*modules[:-1])
