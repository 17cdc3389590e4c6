"""The plane that a cloud is drawn on: its own for d = 2, else the two leading principal axes of the reference."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    import matplotlib.axes


@dataclass(frozen=True, eq=False)
class Plane:
    """Points origin + basis·u for u in the plane; `labels` tell its axes."""

    origin: Tensor
    basis: Tensor
    labels: tuple[str, str]

    def project(self, cloud: Tensor) -> Tensor:
        """Coordinates [n, 2] of the nearest points of the plane, in float64."""
        return (cloud.detach().double() - self.origin) @ self.basis

    def lift(self, coordinates: Tensor) -> Tensor:
        """Points [n, d] of the space from coordinates [n, 2]."""
        return self.origin + coordinates @ self.basis.T


def plane_of(reference: Tensor) -> Plane:
    """The plane of a reference, which alone decides: samples held against one reference share one plane."""
    y = reference.detach().double()
    d = y.shape[1]
    if d < 2:
        raise ValueError(f"reference must have at least two columns for a plane, got {d}; draw a histogram")
    if d == 2:
        return Plane(y.new_zeros(2), torch.eye(2).to(y), ("x₁", "x₂"))
    origin = y.mean(0)
    _, spread, axes = torch.linalg.svd(y - origin, full_matrices=False)
    if len(axes) < 2:
        raise ValueError(f"reference must hold at least two samples for a plane, got {len(y)}; pass more")
    basis = axes[:2].T
    # An axis has no sign of its own: its largest entry is positive.
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    share = spread.square() / spread.square().sum().clamp(min=torch.finfo(torch.float64).tiny)
    first, second = (
        f"reference's principal axis {k + 1} ({float(share[k]):.0%} of variance)" for k in (0, 1)
    )
    return Plane(origin, basis * largest.sign(), (first, second))


def axes_or_new(ax: "matplotlib.axes.Axes | None", *, size: tuple[float, float]) -> "matplotlib.axes.Axes":
    """The axes given, or those of a new figure that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained").subplots() if ax is None else ax
