"""A piecewise-linear network as stages: an affine map, then kinks at known thresholds."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ROUNDING = 1000 * float(np.finfo(np.float64).eps)
"""A pre-activation below this share of Σ|w||a| + |b| is zero: a sum of a thousand terms, or a few layers of them."""

CHUNK = 1 << 21
"""Entries of a matrix that are worked on together: 16 MiB in float64."""

LINEAR = (
    nn.Linear,
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
PLAIN = (
    *(nn.Identity, nn.Flatten, nn.Unflatten, nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *DROPOUTS,
)
SERVED = (
    "Linear, convolutions, BatchNorm, average pooling, Flatten, Dropout; "
    "ReLU, LeakyReLU, PReLU, Hardtanh, ReLU6, Hardsigmoid"
)


@dataclass(frozen=True, eq=False)
class Stage:
    """An affine map and the activation after it; the last stage of a network may have none.

    `magnitude` is the affine map with absolute weights, and bounds what rounding can do to the map's result.
    """

    affine: nn.Sequential
    magnitude: nn.Sequential
    activation: nn.Module | None
    thresholds: tuple[float, ...]

    def rounding(self, largest: Tensor) -> Tensor:
        """What is zero for each pre-activation, given the largest |input| of each coordinate, [*shape]."""
        return ROUNDING * self.magnitude(largest[None])[0]

    def width(self, shape: torch.Size) -> int:
        """How many pre-activations an input of this shape has."""
        return self.affine(torch.zeros(1, *shape, dtype=torch.float64)).numel()

    def evaluate(self, inputs: Iterable[tuple[slice, Tensor]], values: np.ndarray) -> Tensor:
        """Write the pre-activations of inputs that come piece by piece, and return their rounding [*shape].

        Args:
            inputs: Rows of `values`, and the inputs [k, *shape] that belong there.
            values: Where the pre-activations go, [rows, n]. A piece is read before its rows are written.
        """
        largest = None
        for rows, x in inputs:
            most = torch.maximum(x.amax(0), -x.amin(0))  # without a temporary |x|
            largest = most if largest is None else torch.maximum(largest, most)
            values[rows] = self.affine(x).flatten(1).numpy()
        assert largest is not None
        return self.rounding(largest)

    def lines(self, values: np.ndarray, rounding: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Columns whose zeros are this stage's kinks, and their rounding."""
        tolerance = rounding.flatten().numpy()
        if self.thresholds == (0.0,):
            return values, tolerance
        shifted = [(values - at, tolerance + ROUNDING * abs(at)) for at in self.thresholds]
        return np.concatenate([v for v, _ in shifted], 1), np.concatenate([r for _, r in shifted])


@dataclass(frozen=True, eq=False)
class Layers:
    """A network in float64 on the CPU, as stages."""

    stages: tuple[Stage, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """The network's outputs."""
        for stage in self.stages:
            x = stage.affine(x)
            x = x if stage.activation is None else stage.activation(x)
        return x

    def pieces(self, x: Tensor) -> Tensor:
        """How many thresholds each neuron's pre-activation is above, [n, neurons], int8."""
        counts = []
        for stage in self.stages:
            x = stage.affine(x)
            if stage.activation is not None:
                above = torch.stack([x > threshold for threshold in stage.thresholds])
                counts.append(above.sum(0, dtype=torch.int8).flatten(1))
                x = stage.activation(x)
        return torch.cat(counts, 1) if counts else torch.empty(len(x), 0, dtype=torch.int8)


def layers_of(net: nn.Module) -> Layers:
    """Read a network as stages, or refuse it by the name of the module that cannot be served."""
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module, got {type(net).__name__}; pass an nn.Sequential")
    stages, affine = [], []
    for module in _flat(copy.deepcopy(net).to("cpu", torch.float64).requires_grad_(False)):
        thresholds = thresholds_of(module)
        if thresholds is None:
            _check_affine(module)
            affine.append(module)
        else:
            stages.append(_stage(affine, module, thresholds))
            affine = []
    return Layers((*stages, *([_stage(affine, None, ())] if affine else [])))


def thresholds_of(module: nn.Module) -> tuple[float, ...] | None:
    """Where a piecewise-linear activation has its kinks, or `None` for any other module."""
    if type(module) in (nn.ReLU, nn.LeakyReLU, nn.PReLU):
        return (0.0,)
    if isinstance(module, nn.Hardtanh):
        return (float(module.min_val), float(module.max_val))
    return (-3.0, 3.0) if type(module) is nn.Hardsigmoid else None


def chunks(rows: int, width: int) -> list[slice]:
    """Slices of a matrix's rows that hold about `CHUNK` entries each."""
    step = max(1, CHUNK // max(1, width))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _flat(module: nn.Module) -> list[nn.Module]:
    for child in module.modules():
        if hasattr(child, "inplace"):
            setattr(child, "inplace", False)  # noqa: B010 (a flag, which a checker takes for a module)
        for name in list(getattr(child, "parametrizations", {})):
            parametrize.remove_parametrizations(child, name)
    if isinstance(module, nn.Sequential):
        return [leaf for child in module for leaf in _flat(child)]
    return [module]


def _check_affine(module: nn.Module) -> None:
    name = type(module).__name__
    if type(module) not in (*LINEAR, *NORMS, *PLAIN):
        raise ValueError(
            f"net must be an nn.Sequential of modules with countable linear regions, got {name}; served are {SERVED}"
        )
    if module.training and type(module) in (*NORMS, *DROPOUTS):
        raise ValueError(f"net must be in evaluation mode, got a {name} in training; call net.eval()")
    if type(module) in NORMS and getattr(module, "running_var", None) is None:
        raise ValueError(f"net must normalise by running statistics, got a {name} without; track them")


def _stage(affine: list[nn.Module], activation: nn.Module | None, thresholds: tuple[float, ...]) -> Stage:
    magnitude = nn.Sequential(*(_absolute(module) for module in affine))
    return Stage(nn.Sequential(*affine), magnitude, activation, thresholds)


def _absolute(module: nn.Module) -> nn.Module:
    """The map |W|·x + |b|."""
    twin = copy.deepcopy(module)
    if isinstance(twin, NORMS):
        assert isinstance(twin.running_mean, Tensor)
        assert isinstance(twin.running_var, Tensor)
        scale = (twin.running_var + twin.eps).rsqrt()
        scale = scale if twin.weight is None else scale * twin.weight.abs()
        offset = (scale * twin.running_mean).abs()
        offset = offset if twin.bias is None else offset + twin.bias.abs()
        twin.running_mean = torch.zeros_like(twin.running_mean)
        twin.running_var = torch.ones_like(twin.running_var)
        twin.eps, twin.affine = 0.0, True
        twin.weight, twin.bias = (nn.Parameter(p, requires_grad=False) for p in (scale, offset))
        return twin
    for parameter in twin.parameters():
        parameter.data.abs_()
    return twin
