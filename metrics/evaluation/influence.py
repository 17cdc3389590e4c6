"""First-order standard errors: what each point adds to a distance, and how far that differs between points.

A statistic T of two clouds that is smooth in their empirical distributions is, to first order in the sampling,

    T ≈ T(P, Q) + (1/n) Σ_i f(x_i) + (1/m) Σ_j g(y_j),          Var T ≈ Var f(X)/n + Var g(Y)/m,

with the influence functions f and g, up to a constant each (von Mises 1947; Hampel 1974). Of a transport cost

    min_P ⟨P, C⟩ = max { E f(X) + E g(Y) : f(x) + g(y) ≤ C(x, y) }

they are the Kantorovich potentials that attain the maximum (envelope theorem; the central limit theorem of del Barrio &
Loubes 2019, theorem 4.1). The theorem is centred at the mean of T at the given sizes, not at T(P, Q): the bias is what
the floor shows. Two distances have potentials that few numbers fix, so that those of two samples are close to those of
their distributions:

    SW_2²       the mean over directions of the potentials on the line
    Fréchet     the quadratic potentials of W_2² between the fitted Gaussians (Rippl, Munk & Sturm 2016)

The potential of W_2² on x has the gradient 2(x − T(x)), T the optimal map, and that is n times the gradient of the
empirical W_2² in the point itself: so the slopes at the points give the potential wherever there is an order to add
them up in, along a line or where they are linear in x.

The potentials of W_2 and of the Sinkhorn divergence in many dimensions follow every point of the samples, and want a
second look: `metrics.evaluation.potentials`.

**At P = Q** every potential is constant and the first order vanishes: T then spreads by 1/n and not by 1/√n. The
potentials of two samples are not constant, though, and what they give errs to the safe side: of the squared distance of
two means, with v = (1/n + 1/m)·Var, the error is 2|x̄ − ȳ|√v where √2·v is true, a factor of √2 as a root mean square.

A root D = √T has the error of T over 2D (delta method).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.gaussians.factors import mean_and_root, row_blocks
from metrics.gaussians.maps import transport_between
from metrics.transport.line import line_cost

__all__ = [
    "Influence",
    "frechet_influence",
    "sliced_influence",
]

TINY = 1e-300
"""Values that are not divided by."""

LEAST = 0.6
"""Of the first-order variance, told where covariances are lower (`metrics.evaluation.potentials` says why)."""

BLOCK = 2**22
"""Projections of points that are held at once: 32 MiB in float64."""


@dataclass(frozen=True)
class Influence:
    """A statistic of two clouds and the first-order influence of every point on it, up to a constant per cloud.

    Attributes:
        value: The statistic.
        x: f at the samples.
        y: g at the reference.
        apart: f and g again, as points tell them that have no part in them; None where that is the same.

    >>> Influence(torch.tensor(4.0), torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0])).stderr
    tensor(1.)
    """

    value: Float[Tensor, ""]
    x: Float[Tensor, " n"]
    y: Float[Tensor, " m"]
    apart: tuple[Float[Tensor, " n"], Float[Tensor, " m"]] | None = None

    @property
    def stderr(self) -> Float[Tensor, ""]:
        """√(Var f/n + Var g/m); of what is told apart, covariances Cov(f, f°), and no less than .6 of the variances."""
        # Potentials of clouds far apart may have squares beyond float64.
        largest = torch.maximum(self.x.abs().amax(), self.y.abs().amax())
        unit = torch.frexp(largest).exponent.to(largest.dtype).exp2()
        f, g = self.x / unit, self.y / unit
        variance = f.var() / len(f) + g.var() / len(g)
        if self.apart is not None:
            crossed = sum(
                (own - own.mean()) @ (other / unit - (other / unit).mean()) / (len(own) * (len(own) - 1))
                for own, other in zip((f, g), self.apart, strict=True)
            )
            variance = torch.maximum(torch.as_tensor(crossed), LEAST * variance)
        return unit * variance.sqrt()

    @property
    def root_variance(self) -> Float[Tensor, ""]:
        """The variance of the statistic's square root, Var T/4T; 0 at T ≤ 0, where that has no slope."""
        root = self.value.clamp(min=TINY).sqrt()
        return torch.where(self.value > 0, (self.stderr / (2 * root)).square(), 0.0)

    def root(self) -> "Influence":
        """Of the statistic's square root; at 0, where that has no slope, as of the statistic's own."""
        root = self.value.clamp(min=0).sqrt()
        slope = torch.where(root > 0, 0.5 / root, 1.0)
        apart = None if self.apart is None else (slope * self.apart[0], slope * self.apart[1])
        return Influence(root, slope * self.x, slope * self.y, apart)


def sliced_influence(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], directions: Float[Tensor, "l d"]
) -> Influence:
    """Return the mean over unit directions of W_2² along each, and the mean of the potentials on the lines.

    >>> x, y = torch.randn(2, 100, 1, generator=torch.Generator().manual_seed(0)).unbind()
    >>> found = sliced_influence(x, y + 2, torch.ones(1, 1))
    >>> bool((found.value - (x.sort(0).values - y.sort(0).values - 2).square().mean()).abs() < 1e-6)
    True
    """
    x, y, count = x.detach().double(), y.detach().double(), len(directions)
    value, f, g = x.new_zeros(()), x.new_zeros(len(x)), y.new_zeros(len(y))
    for block in directions.double().split(max(1, BLOCK // (len(x) + len(y)))):
        along_x, along_y = (block @ x.T).requires_grad_(), (block @ y.T).requires_grad_()
        with torch.enable_grad():
            costs = line_cost(along_x, along_y, p=2).sum()
        slope_x, slope_y = torch.autograd.grad(costs, (along_x, along_y))
        value += costs.detach() / count
        f += _potential_on_lines(along_x.detach(), len(x) * slope_x).sum(0) / count
        g += _potential_on_lines(along_y.detach(), len(y) * slope_y).sum(0) / count
    return Influence(value, f, g)


@torch.no_grad()
def frechet_influence(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Influence:
    """Return `frechet_distance(x, y)`, and the quadratic potentials whose slopes are the gradients in the points.

    With gap = μ − ν, factors Σ = RᵀR and T = SᵀS of the covariances and RSᵀ = UΛVᵀ the gradient in the point x is
    n⁻¹ times 2 gap + 2n/(n − 1)·(I − A)(x − μ), A = R⁺UVᵀS the map between the Gaussians, and

        f(x) = 2 gap·(x − μ) + n/(n − 1)·(x − μ)ᵀ(I − A)(x − μ).

    Only directions in which RSᵀ does not vanish enter A, so singular covariances are as good as others. Points are
    taken in blocks; memory is that of matrices of d × d.

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> frechet_influence(x, x + 1).x.round()  # of equal covariances it is 2(μ_x − μ_y)·(x − μ_x)
    tensor([ 2., -2.], dtype=torch.float64)
    """
    p, q = mean_and_root(x.detach()), mean_and_root(y.detach())
    found = transport_between(p, q)
    f = _quadratic(x.detach(), p[0], found.gap, found.forth)
    g = _quadratic(y.detach(), q[0], -found.gap, found.back)
    return Influence(found.value, f, g)


def _potential_on_lines(at: Float[Tensor, "l n"], slope: Float[Tensor, "l n"]) -> Float[Tensor, "l n"]:
    """The integral of the slopes along each line by the trapezoidal rule, with mean 0."""
    ordered, order = at.sort(1)
    slope = slope.gather(1, order)
    steps = ordered.diff(dim=1) * (slope[:, 1:] + slope[:, :-1]) / 2
    potential = torch.nn.functional.pad(steps.cumsum(1), (1, 0))
    potential = potential - potential.mean(1, keepdim=True)
    return torch.empty_like(potential).scatter_(1, order, potential)


def _quadratic(cloud: Tensor, mean: Tensor, gap: Tensor, matrix: Tensor) -> Float[Tensor, " n"]:
    """2 gap·c + n/(n − 1)·cᵀ(I − A)c of the centred points c."""
    scale, found = len(cloud) / (len(cloud) - 1), []
    for rows in row_blocks(cloud):
        c = cloud[rows].double() - mean
        found.append(2 * c @ gap + scale * (c * (c - c @ matrix)).sum(1))
    return torch.cat(found)
