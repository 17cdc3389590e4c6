r"""What a sampler's standard deviations will be, told before it runs, from noise that depends on the parameters.

Let p be the posterior, Σ_p its covariance, K = (N Σ_p)⁻¹ the slope of the mean gradient in it, A = E_p[∇²L] and
C = E_p[C(θ)]. A step θ ← θ − Hĝ + ξ with Cov(ξ) = Q, started in p, changes the second moments by

    E = HCH/S + Q − (2H − HAH)/N                                                                          (1)

exactly, for any p (integrate by parts). The iterates settle at Σ_p + Δ where, to second moments,

    Δ = Λ(E) + R(Δ),     R(Σ) = Λ( H (E[H_i Σ H_i] − AΣA) H ) / S,                                         (2)

with H_i the Hessian of one datum and Λ the solution of the Lyapunov equation with the map I − HK. R is the noise's
feedback: an excursion makes gradients noisier, and noise makes excursions. For a linear regression with known noise (2)
is exact. The covariance exists if and only if the spectral radius ρ of R is below 1. In one dimension and for small
steps the moment of order k exists if and only if ρ < 1/(k − 1): the tails are those of a power law, and

    k* = 1 + 1/ρ                                                                                          (3)

is their index. From ρ = 1/3 on there is no fourth moment: a run's standard deviations then scatter without a variance,
and their error bars miss the rare excursions that would have told. Both are large where a row x_i has high leverage
x_iᵀ(XᵀX)⁻¹x_i and few data share a batch: that row's Hessian is then N·leverage/S times its fair share.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd._over import warn
from bayessgd.theory._whitening import Whitening
from bayessgd.theory.lyapunov import solved_discrete

__all__ = ["Forecast", "check_few", "feedback_matrix", "foretell", "radius_of", "symmetric_basis"]

LARGEST = 64
"""Parameters: d(d+1)/2 = 2080 unknowns, and as many Lyapunov equations for the matrix of R."""
HEAVY = 1 / 3
"""The radius at which the fourth moment ceases to exist, by (3) with k* = 4."""


def check_few(parameters: int) -> None:
    """Refuse a regression whose R would be too large a matrix."""
    if parameters > LARGEST:
        raise ValueError(
            f"features must have at most {LARGEST} columns, log σ counted as one, for a dense solution, got "
            f"{parameters}; take fewer"
        )


@dataclass(frozen=True)
class Forecast:
    """The standard deviations that a sampler of a regression will have, over the posterior's.

    Attributes:
        ratios: Of each parameter `[d]`; infinite where there is no stationary covariance.
        extremes: The smallest and the largest ratio over all directions.
        balance: The same two without the feedback of the noise: what H and Q miss by themselves, equation (1).
        radius: ρ, the spectral radius of the noise's feedback.
        row: The datum of the highest leverage.
        leverage: Its leverage, in [0, 1].
        batch_size: S.
        skewed: How much of the deficit is due to the skewness of log σ; 0 where the noise is known.
        tolerance: What `holds` allows.
    """

    ratios: Float[Tensor, " d"]
    extremes: tuple[float, float]
    balance: tuple[float, float]
    radius: float
    row: int
    leverage: float
    batch_size: int
    skewed: float
    tolerance: float

    @property
    def tail_index(self) -> float:
        """k* = 1 + 1/ρ, the order up to which moments exist: equation (3)."""
        return 1 + 1 / self.radius if self.radius > 0 else math.inf

    @property
    def holds(self) -> bool:
        """Whether all ratios are within the tolerance, and a run's own error bars can be trusted."""
        low, high = self.extremes
        return 1 - self.tolerance <= low and high <= 1 + self.tolerance and self.radius < HEAVY

    @property
    def causes(self) -> tuple[str, ...]:
        """What keeps the sampler from the posterior, the gravest first; empty if it `holds`."""
        found, row = [], f"batches of {self.batch_size} with row {self.row} of leverage {self.leverage:.2f}"
        low, high = self.balance
        if math.isinf(self.radius):
            found.append("the mean of the iterates diverges: the step is too long")
        elif self.radius >= 1:
            found.append(
                f"no stationary covariance exists: the noise that excursions cause comes back {self.radius:.3g} "
                f"times as strong ({row})"
            )
        elif self.radius >= HEAVY:
            found.append(
                f"rare excursions: moments beyond order {self.tail_index:.1f} do not exist, and a run's error bars "
                f"miss that ({row})"
            )
        if math.isfinite(self.radius) and (low < 1 - self.tolerance / 2 or high > 1 + self.tolerance / 2):
            found.append(
                "the noise over the posterior is not what H and Q were made for (at the mode the residuals are "
                "smallest): use `curvature` and `mean_noise`"
            )
        if self.skewed > self.tolerance / 2:
            found.append(
                f"log σ is skewed, and gradient noise narrows it by {self.skewed:.2f}: a shorter step"
            )
        if not (self.holds or found):
            found.append(f"the noise grows away from the optimum ({row})")
        return () if self.holds else tuple(found)

    def within(self, tolerance: float) -> "Forecast":
        """The same forecast, judged by another tolerance."""
        return replace(self, tolerance=tolerance)

    def warn(self) -> None:
        """Warn unless it `holds`, naming the causes and the remedy."""
        if self.holds:
            return
        low, high = self.extremes
        said = f"{low:.3g} to {high:.3g} times the posterior's" if self.radius < 1 else "without a limit"
        warn(
            "forecast",
            f"the sampler's standard deviations will be {said}: {'; '.join(self.causes)}. Take the step of "
            "theory.corrected_step, or larger batches",
        )


@dataclass(frozen=True)
class Posterior:
    """What (1) and (2) need, in the coordinates in which K is the identity.

    Attributes:
        white: From the parameters to these coordinates.
        A: E_p[∇²L].
        C: E_p[C(θ)].
        num_data: N.
        excess: Σ ↦ E[H_i Σ H_i] − AΣA, for any number of matrices.
        leverage: Of each datum.
    """

    white: Whitening
    A: Tensor
    C: Tensor
    num_data: int
    excess: Callable[[Tensor], Tensor]
    leverage: Tensor


def foretell(
    posterior: Posterior,
    H: Tensor,
    Q: Tensor,
    *,
    batch_size: int,
    tolerance: float,
    dtype: torch.dtype = torch.float64,
    lost: Tensor | None = None,
) -> Forecast:
    """Return the forecast for H and Q in float64; `lost` is what else is taken off the ratios."""
    white, n, S = posterior.white, posterior.num_data, batch_size
    step, eye = white.spread(H), white.eye
    noisy = step @ posterior.C @ step / S
    E = noisy + white.spread(Q) - (2 * step - step @ posterior.A @ step) / n
    F = eye - step
    worst = int(posterior.leverage.argmax())
    told = {
        "row": worst,
        "leverage": float(posterior.leverage[worst]),
        "batch_size": S,
        "tolerance": tolerance,
    }
    if float(torch.linalg.matrix_norm(F, 2)) >= 1:
        gone = torch.full((len(H),), torch.inf, dtype=dtype)
        return Forecast(gone, (0.0, math.inf), (0.0, math.inf), math.inf, skewed=0.0, **told)
    bare = solved_discrete(F, E)
    R = feedback_matrix(posterior.excess, F, step, S)
    radius = radius_of(R)
    lost = torch.zeros(len(H), dtype=H.dtype) if lost is None else lost
    skewed = float(lost.max())
    balance = _extremes(eye + n * bare)
    if radius >= 1:
        gone = torch.full((len(H),), torch.inf, dtype=dtype)
        return Forecast(gone, (0.0, math.inf), balance, radius, skewed=skewed, **told)
    rows, cols = torch.triu_indices(len(H), len(H), device=H.device)
    basis = symmetric_basis(len(H), H)
    unit = torch.eye(len(R), dtype=R.dtype, device=R.device)
    change = torch.einsum("k,kij->ij", torch.linalg.solve(unit - R, bare[rows, cols]), basis)
    settled = eye + n * change
    ratios = (white.back(settled).diagonal() / white.back(eye).diagonal()).clamp(min=0).sqrt() - lost
    low, high = _extremes(settled)
    return Forecast(
        ratios.to(dtype),
        (low - float(lost.max()), high - float(lost.min())),
        balance,
        radius,
        skewed=skewed,
        **told,
    )


def _extremes(covariance: Tensor) -> tuple[float, float]:
    values = torch.linalg.eigvalsh(covariance).clamp(min=0).sqrt()
    return float(values[0]), float(values[-1])


def feedback_matrix(excess: Callable[[Tensor], Tensor], F: Tensor, H: Tensor, S: int) -> Tensor:
    """Return R of (2) as a matrix over the d(d+1)/2 entries of symmetric matrices."""
    rows, cols = torch.triu_indices(len(H), len(H), device=H.device)
    noise = H @ excess(symmetric_basis(len(H), H)) @ H / S
    return solved_discrete(F, noise)[:, rows, cols].mT


def radius_of(R: Tensor) -> float:
    """Return the spectral radius."""
    return float(torch.linalg.eigvals(R.detach()).abs().max())


def symmetric_basis(d: int, like: Tensor) -> Tensor:
    """Return the d(d+1)/2 matrices whose entry (i, j) and (j, i) is one."""
    rows, cols = torch.triu_indices(d, d, device=like.device)
    basis = torch.zeros(len(rows), d, d, dtype=like.dtype, device=like.device)
    index = torch.arange(len(rows), device=like.device)
    basis[index, rows, cols] = 1
    basis[index, cols, rows] = 1
    return basis
