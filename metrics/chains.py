"""Markov chains: how many independent draws they are worth, and whether they have found the same distribution.

M chains of N draws θ_mn of one coordinate. With W the mean of the chains' variances, B/N the variance of their
means and V = (N − 1)W/N + B/N an estimate of the distribution's variance,

    R̂   = √(V / W)                          near 1 where the chains agree (Gelman & Rubin 1992)
    ESS = M N / τ,   τ = −1 + 2 Σ_t ρ̂_t      draws that independent sampling would need for the same error of the mean

ρ̂_t = 1 − (W − mean_m γ̂_mt)/V joins the chains' autocovariances γ̂_mt, so that chains which disagree count for
little. Its sum runs over pairs of lags, kept positive and decreasing (Geyer 1992's initial monotone sequence; Gelman
et al. 2013, section 11.5). R̂ is taken over half-chains (*split*), which also finds a drift within a chain.

R̂ and the autocovariances are `pyro.ops.stats`'. Its own effective sample size is the same number, with memory
that grows as N² per coordinate; here it is O(MN). Anti-correlated draws can push τ to 0 or below it: as in Stan,
ESS is at most MN log₁₀(MN) (Vehtari et al. 2021, "Rank-normalization, folding, and localization: an improved R̂").

R̂ below 1.01 and an ESS above 100 per chain are usual demands (ibid.). Where every draw is the same number there is
no variance to speak of, and both are NaN; chains that each stand still at values of their own have R̂ = ∞.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_tensor
from metrics.precision import full_precision

__all__ = [
    "ChainDiagnostics",
    "chain_diagnostics",
    "effective_sample_size",
    "monte_carlo_error",
    "r_hat",
    "rank_normalise",
]

BLOCK = 2**22
"""Draws per block of coordinates."""


@dataclass(frozen=True)
class ChainDiagnostics:
    """Effective sample size and R̂ of every coordinate of every parameter.

    Attributes:
        ess: From a parameter's name to its effective sample sizes, of the parameter's shape.
        r_hat: The same for R̂.
    """

    ess: Mapping[str, Tensor]
    r_hat: Mapping[str, Tensor]

    @property
    def min_ess(self) -> float:
        """The smallest effective sample size; coordinates that never move are left out, NaN if all are so."""
        return min(_moving(self.ess), default=math.nan)

    @property
    def max_r_hat(self) -> float:
        """The largest R̂; coordinates that never move are left out, NaN if all are so."""
        return max(_moving(self.r_hat), default=math.nan)


@full_precision
def chain_diagnostics(draws: Mapping[str, Tensor]) -> ChainDiagnostics:
    """Return effective sample size and R̂ of a posterior's draws, parameter by parameter.

    Args:
        draws: From name to [chains, draws, ...]; of one chain [draws, ...], pass `value[None]`.

    Raises:
        TypeError, ValueError: No mapping; no parameters; draws that `effective_sample_size` refuses.

    >>> draws = {"w": torch.randn(4, 500, 3, generator=torch.Generator().manual_seed(0))}
    >>> result = chain_diagnostics(draws)
    >>> result.ess["w"].shape, result.min_ess > 1000, result.max_r_hat < 1.01
    (torch.Size([3]), True, True)
    """
    if not isinstance(draws, Mapping):
        raise TypeError(
            f"draws must map names to tensors, got {type(draws).__name__}; use r_hat for one tensor"
        )
    if not draws:
        raise ValueError("draws must not be empty; pass at least one parameter")
    checked = {name: _check_draws(value, name) for name, value in draws.items()}
    return ChainDiagnostics(
        ess={name: effective_sample_size(value) for name, value in checked.items()},
        r_hat={name: r_hat(value) for name, value in checked.items()},
    )


@full_precision
def effective_sample_size(draws: Float[Tensor, "chains draws *s"]) -> Float[Tensor, "*s"]:
    """Return the number of independent draws that would give the mean the same error, per coordinate.

    Args:
        draws: Draws of Markov chains, [chains, draws, ...]; at least 4 per chain.

    Returns:
        [...], between 0 and MN log₁₀(MN); NaN for a coordinate that never moves. It is itself an estimate, optimistic
        for chains much shorter than their correlation time.

    Raises:
        TypeError, ValueError: Draws that are not floats, not finite, or fewer than 4 per chain.

    >>> effective_sample_size(torch.tensor([[0.0, 1.0, 3.0, 2.0, 5.0, 4.0, 7.0, 6.0]]))
    tensor(2.9385)
    """
    return _by_blocks(_effective_sample_size, _check_draws(draws))


@full_precision
def r_hat(draws: Float[Tensor, "chains draws *s"]) -> Float[Tensor, "*s"]:
    """Return split R̂ per coordinate: 1 where half-chains agree, more where they do not.

    Args:
        draws: Draws of Markov chains, [chains, draws, ...]; at least 4 per chain. One chain is compared with itself,
            half against half; a middle draw of an odd number is left out.

    Returns:
        [...]; of `rank_normalise(draws)` it is the rank-normalised R̂ of Vehtari et al. (2021). Infinite where the
        half-chains stand still apart from each other, NaN for a coordinate that never moves.

    Raises:
        TypeError, ValueError: Draws that are not floats, not finite, or fewer than 4 per chain.

    >>> r_hat(torch.tensor([[0.0, 1.0, 0.0, 1.0], [5.0, 6.0, 5.0, 6.0]]))
    tensor(4.1433)
    """
    return _by_blocks(_split_r_hat, _check_draws(draws))


@full_precision
def monte_carlo_error(draws: Float[Tensor, "chains draws *s"]) -> Float[Tensor, "*s"]:
    """Return the standard error of the draws' mean, √(V/ESS), per coordinate and in its units.

    V is the variance of all draws together.

    Args:
        draws: Of one or more chains, [chains, draws, ...].

    Returns:
        [...]; NaN for a coordinate that never moves.

    Raises:
        TypeError, ValueError: As `effective_sample_size`.

    >>> draws = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    >>> bool((monte_carlo_error(draws) - 4000**-0.5).abs() < 0.003)
    True
    """
    x = _check_draws(draws)
    variance = x.double().flatten(0, 1).var(0)
    return (variance / effective_sample_size(x).double()).sqrt().to(x.dtype)


@full_precision
def rank_normalise(draws: Float[Tensor, "chains draws *s"]) -> Float[Tensor, "chains draws *s"]:
    """Return Φ⁻¹((r − 3/8)/(S + 1/4)), r the rank among all S draws of a coordinate (Vehtari et al. 2021, eq. 14).

    R̂ and ESS of these are defined for heavy tails too and do not change under monotone maps of the draws.

    >>> rank_normalise(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))
    tensor([[-1.0491, -0.2993,  0.2993,  1.0491]])
    """
    from scipy.stats import rankdata

    x = _check_draws(draws)
    pooled = x.detach().flatten(0, 1)
    ranks = torch.as_tensor(rankdata(pooled.cpu().numpy(), axis=0), device=x.device)
    z = torch.special.ndtri((ranks - 0.375) / (len(pooled) + 0.25))
    return z.to(x.dtype).reshape(x.shape)


def _effective_sample_size(x: Tensor) -> Tensor:
    """Of float64 draws [chains, draws, k]; NaN where V = 0."""
    from pyro.ops.stats import autocovariance

    chains, n, _ = x.shape
    within = x.var(1).mean(0)
    total = within * (n - 1) / n
    if chains == 1:
        within = total
    else:
        total = total + x.mean(1).var(0)
    rho = (total - within + autocovariance(x, dim=1).mean(0)) / total
    rho[0] = 1
    pairs = rho[: n // 2 * 2].reshape(n // 2, 2, -1).sum(1)
    later = pairs[1:].clamp(min=0).cummin(0).values
    tau = -1 + 2 * pairs[0] + 2 * later.sum(0)
    return chains * n / tau.clamp(min=1 / math.log10(chains * n))


def _split_r_hat(x: Tensor) -> Tensor:
    from pyro.ops.stats import split_gelman_rubin

    half = x.shape[1] // 2
    still = ((x[:, :half] == x[:, :1]) & (x[:, -half:] == x[:, -1:])).all(1).all(0)
    # Rounding leaves the variance of a constant at 1e-34 and not at 0.
    return split_gelman_rubin(x).where(~still, math.inf)


def _by_blocks(measure: Callable[[Tensor], Tensor], draws: Tensor) -> Tensor:
    """Apply to [chains, draws, k] in float64, some coordinates at a time; NaN for those that never move."""
    chains, n, *shape = draws.shape
    flat = draws.detach().reshape(chains, n, -1)
    width = max(1, BLOCK // (chains * n))
    values = torch.cat([measure(part.double()) for part in flat.split(width, 2)])
    constant = (flat == flat[:1, :1]).all(1).all(0)
    return values.where(~constant, math.nan).to(draws.dtype).reshape(shape)


def _check_draws(draws: object, name: str = "draws") -> Tensor:
    ndim = draws.ndim if isinstance(draws, Tensor) and draws.ndim > 2 else 2
    x = check_tensor(draws, name, shape="[chains, draws, ...]", ndim=ndim)
    if x.shape[1] < 4:
        raise ValueError(
            f"{name} must hold at least 4 draws per chain, got {x.shape[1]}; the shape is [chains, draws, ...]"
        )
    return x


def _moving(values: Mapping[str, Tensor]) -> list[float]:
    return [v for tensor in values.values() for v in tensor.flatten().tolist() if not math.isnan(v)]
