"""Curves through a network: how long their images are and how much they turn.

A curve x(t), t ∈ [0, 1], has the image h(t) = f(x(t)). Its length is ∫ |h'| dt, its total curvature ∫ κ |h'| dt, the
length of the Gauss map t ↦ h'/|h'|, which no scaling of the image changes (Raghu et al. 2017, "On the expressive power
of deep neural networks"; Poole et al. 2016). The jets are exact (`metrics.geometry.jets`); the integrals are composite
Gauss–Legendre sums.

A piecewise-linear network maps a polyline to a polyline. There nothing is integrated: the breakpoints are exact, the
length is a sum of distances and the total curvature a sum of turning angles, at breakpoints and corners. A smooth
curve under such a network has kinks that no derivative sees, so its total curvature is refused; give the curve as a
polyline.

At He's initialisation a ReLU network does not lengthen curves: E length ≤ (σ_w/√2)^L · length (Hanin, Jeong & Rolnick
2022, "Deep ReLU networks preserve expected length").
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from metrics.geometry._affine import slopes_along
from metrics.geometry._layers import layers_of, thresholds_of
from metrics.geometry.jets import Jets, Map, curve_jets
from metrics.geometry.regions import polyline_breaks
from metrics.inputs import check_count, check_tensor

__all__ = ["total_curvature", "trajectory_length"]


def trajectory_length(
    net: Map, curve: Map | Float[Tensor, "k ..."], *, points: int = 2048
) -> Float64[Tensor, ""]:
    """Return the length of a curve's image, in units of the network's outputs.

    Args:
        net: A network or any function of points [n, *input]. Modules are copied and evaluated in float64.
        curve: A function from t ∈ [0, 1], [n], to points [n, *input], or the corners of a polyline [k, *input].
        points: Where the integrand is evaluated, if it is: exact sums are taken for a polyline under a
            piecewise-linear network. The error falls exponentially with the points for smooth networks, as 1/points
            for kinked ones.

    Raises:
        TypeError, ValueError: A curve that is neither; fewer than two corners; too few points.

    >>> from metrics.geometry import Circle
    >>> circle = Circle(torch.zeros(2), torch.tensor([3.0, 0]), torch.tensor([0, 3.0]))
    >>> round(trajectory_length(nn.Identity(), circle).item() / (6 * torch.pi), 12)
    1.0
    >>> trajectory_length(nn.ReLU(), torch.tensor([[-3.0, 0], [3, 0]]))
    tensor(3., dtype=torch.float64)
    """
    points = check_count(points, "points", least=16)
    if isinstance(curve, Tensor):
        corners = _corners(curve)
        exact = _exact_pieces(net, corners)
        if exact is not None:
            return (exact.slopes.norm(dim=1) * exact.lengths).sum()
        return _sum(_segments(net, corners, points), lambda jets: jets.speed)
    return _sum(_panels(_in_float64(net), _check_curve(curve), points), lambda jets: jets.speed)


def total_curvature(
    net: Map, curve: Map | Float[Tensor, "k ..."], *, points: int = 2048
) -> Float64[Tensor, ""]:
    """Return how much the tangent of a curve's image turns, in radians: 2π for a convex closed curve in a plane.

    Args:
        net: A network or any function of points [n, *input]. Modules are copied and evaluated in float64.
        curve: A function from t ∈ [0, 1], [n], to points [n, *input], or the corners of a polyline [k, *input]; its
            own corners count, and where the last is the first also that one; of a function the ends are not joined.
            Under a smooth network pass a smooth curve as a function: the image of a polyline turns more, however fine
            it is.
        points: Where the integrand is evaluated, if it is: exact sums are taken for a polyline under a
            piecewise-linear network.

    Raises:
        TypeError, ValueError: A smooth curve under a network with kinks, which derivatives do not see; a network that
            has both kinks and smooth activations; a curve that is neither; too few points.

    >>> from metrics.geometry import Circle
    >>> circle = Circle(torch.zeros(2), torch.tensor([3.0, 0]), torch.tensor([0, 3.0]))
    >>> round(total_curvature(nn.Identity(), circle).item() / (2 * torch.pi), 12)
    1.0
    >>> total_curvature(nn.ReLU(), torch.tensor([[-1.0, 1], [1, 2]])) * 180 / torch.pi  # from (0, 1) to (2, 1)
    tensor(63.4349, dtype=torch.float64)
    """
    points = check_count(points, "points", least=16)
    if isinstance(curve, Tensor):
        corners = _corners(curve)
        exact = _exact_pieces(net, corners)
        closed = bool((corners[0] == corners[-1]).all())
        if exact is not None:
            return _angles(exact.slopes, exact.slopes, closed)
        _check_smooth(net, "a network of kinks and smooth activations together")
        inside = _sum(_segments(net, corners, points), lambda jets: jets.turning)
        return inside + _corner_angles(_in_float64(net), corners, closed)
    _check_smooth(net, "a smooth curve under kinks")
    return _sum(_panels(_in_float64(net), _check_curve(curve), points), lambda jets: jets.turning)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """A polyline's image under a piecewise-linear network: slopes [m, outputs] over parameter lengths [m]."""

    slopes: Tensor
    lengths: Tensor


def _exact_pieces(net: Map, corners: Tensor) -> _Pieces | None:
    if not isinstance(net, nn.Module):
        return None
    try:
        network = layers_of(net)
    except ValueError:
        return None
    with torch.no_grad():
        t, _ = polyline_breaks(network, corners)
        middle = (t[1:] + t[:-1]) / 2
        segment = middle.long()
        along = corners.diff(dim=0)[segment]
        share = (middle - segment).reshape(-1, *[1] * (corners.ndim - 1))
        return _Pieces(slopes_along(network, corners[segment] + share * along, along), t.diff())


def _angles(before: Tensor, after: Tensor, closed: bool) -> Tensor:
    """The angles between the direction at the end of each piece and that at the start of the next."""
    # A piece that the network maps to a point has no direction: its neighbours meet there.
    moves = after.norm(dim=1) > 1e-14 * after.norm(dim=1).max()
    u, v = (x[moves] / x[moves].norm(dim=1, keepdim=True) for x in (before, after))
    if closed:
        v = v.roll(-1, 0)
    else:
        u, v = u[:-1], v[1:]
    # Kahan's form keeps its accuracy for small angles and for those near π.
    return 2 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1)).sum()


def _corner_angles(net: Map, corners: Tensor, closed: bool) -> Tensor:
    along = corners.diff(dim=0)
    starts, ends = (
        torch.func.jvp(net, (at.contiguous(),), (along,))[1].flatten(1) for at in (corners[:-1], corners[1:])
    )
    return _angles(ends.detach(), starts.detach(), closed)


def _panels(net: Map, curve: Map, points: int) -> list[tuple[Jets, Tensor]]:
    """Jets and weights of a composite Gauss–Legendre rule on [0, 1], 16 nodes a panel, in batches."""
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(16))
    panels = -(-points // 16)
    t = ((torch.arange(panels)[:, None] + (1 + nodes) / 2) / panels).flatten()
    w = (weights / 2 / panels).repeat(panels)
    return [(curve_jets(net, curve, part), wt) for part, wt in zip(t.split(512), w.split(512), strict=True)]


def _segments(net: Map, corners: Tensor, points: int) -> list[tuple[Jets, Tensor]]:
    """The same on each segment of a polyline, with at least four nodes on each."""
    count = len(corners) - 1
    nodes, weights = (
        torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(max(4, min(64, points // count)))
    )
    t = (torch.arange(count)[:, None] + (1 + nodes) / 2).flatten()
    w = (weights / 2).repeat(count)
    along = corners.diff(dim=0)

    def polyline(s: Tensor) -> Tensor:
        segment = s.detach().long().clamp(max=count - 1)
        return corners[segment] + (s - segment).reshape(-1, *[1] * (corners.ndim - 1)) * along[segment]

    function = _in_float64(net)
    return [
        (curve_jets(function, polyline, part), wt)
        for part, wt in zip(t.split(512), w.split(512), strict=True)
    ]


def _sum(parts: list[tuple[Jets, Tensor]], density: Callable[[Jets], Tensor]) -> Tensor:
    return torch.stack([(density(jets) * weights).sum() for jets, weights in parts]).sum()


def _in_float64(net: Map) -> Map:
    if isinstance(net, nn.Module):
        return copy.deepcopy(net).to("cpu", torch.float64).requires_grad_(False)
    if not callable(net):
        raise TypeError(f"net must be a network or a function of points, got {type(net).__name__}")
    return net


def _corners(curve: Tensor) -> Tensor:
    corners = check_tensor(curve, "curve", shape="[corners, *input]", ndim=max(2, curve.ndim))
    if len(corners) < 2:
        raise ValueError(f"curve must have at least two corners, got {len(corners)}; pass [corners, *input]")
    corners = corners.detach().to("cpu", torch.float64)
    apart = (corners.diff(dim=0) != 0).flatten(1).any(1)
    if not bool(apart.any()):
        raise ValueError("curve must have two different corners, got one point; it has no direction")
    return torch.cat([corners[:1], corners[1:][apart]])


def _check_curve(curve: object) -> Map:
    if not callable(curve):
        raise TypeError(
            "curve must be a function of t in [0, 1] or the corners [k, *input] of a polyline, "
            f"got {type(curve).__name__}"
        )
    return lambda t: torch.as_tensor(curve(t)).double()


def _check_smooth(net: Map, what: str) -> None:
    modules = net.modules() if isinstance(net, nn.Module) else []
    kinked = [type(m).__name__ for m in modules if thresholds_of(m) is not None]
    if kinked:
        raise ValueError(
            f"total curvature of {what} is not served, got {kinked[0]}, whose kinks no derivative sees; served are "
            "smooth activations (tanh, erf, GELU, …) on any curve, and piecewise-linear networks on a polyline "
            "[k, *input]"
        )
