r"""Iterate averaging: what the mean of T consecutive iterates of constant SGD samples.

Summed over T steps, the update θ ← θ − H ĝ says that the mean of the gradients is a difference of end points
over T. For T long against the slowest mode, T (1 − m)⁻¹ λ_min(HA) ≫ 1, the mean of the iterates is therefore
−A⁻¹ times the mean noise, whatever the preconditioner and the momentum (Polyak & Juditsky 1992;
Mandt, Hoffman & Blei 2017, JMLR 18(134), section 6):

    Cov(θ̄_T) = A⁻¹ C A⁻¹ / (S T).                                                                        (1)

With T = N/S that is A⁻¹CA⁻¹/N: the posterior if C = A (a well-specified model), the *sandwich* otherwise.
Exactly, in discrete time, with the map F of one step and the stationary covariance Γ of its state,

    Cov(θ̄_T) = (1/T²) [ T Γ + K Γ + Γ Kᵀ ]_θθ,    K = Σ_{k=1}^{T−1} (T − k) Fᵏ,                          (2)

where K is read off a power of a block matrix, so that nothing cancels for short windows.

Both are of a *quadratic* loss, whose mean gradient is linear in θ. Where a scale is inferred too, on the log
scale, the loss is none: its gradient holds e^{−2 log σ}, and the iterates, which wander over several times the
posterior's variance, see the mean of that over their own wanderings. log σ then comes out too large (on the
regressions of posteriordb by .18 to .73 of its standard deviation, and its width from .8 to 3.1 times the right
one), and with few data per batch the iterates leave for good: iterate averaging is no sampler of such a
posterior, at any window. Sample log σ by the corrected sampler (`corrected`, `corrected_step`), or hold σ fixed.

Both assume batches drawn iid. When every epoch visits each datum once, the noises of an epoch sum to zero,
and an epoch's mean hardly moves: `bayessgd.theory.shuffling` has its covariance, and `replacement=False`
here returns it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._matrices import (
    check_momentum,
    check_preconditioner,
    check_problem,
    check_semidefinite,
    narrow,
)
from bayessgd.theory._whitening import Whitening
from bayessgd.theory.lyapunov import solved_discrete
from bayessgd.theory.shuffling import shuffled_average
from bayessgd.theory.stationary import refuse_unstable, state_noise, transition
from metrics.inputs import check_count

__all__ = ["iterate_average_covariance"]


def iterate_average_covariance(
    A: Float[Tensor, "d d"],
    C: Float[Tensor, "d d"],
    *,
    num_iterates: int,
    batch_size: int,
    preconditioner: float | int | Tensor | None = None,
    momentum: float | int = 0.0,
    injected: Float[Tensor, "d d"] | None = None,
    replacement: bool = True,
    num_data: int | None = None,
) -> Float[Tensor, "d d"]:
    """The covariance of the mean of T consecutive stationary iterates: (1), or with `preconditioner` (2).

    Of a quadratic loss: where a scale is inferred too, iterate averages do not sample the posterior (the module).

    Args:
        A: The Hessian of the mean negative log joint `[d, d]`, positive definite.
        C: The covariance of one datum's gradient `[d, d]`, positive semi-definite.
        num_iterates: T; N/S for iterate averaging as a sampler.
        batch_size: S.
        preconditioner: H, for the exact covariance at finite T: a number, a vector `[d]` or a matrix `[d,
            d]`. `None` for the limit of long windows, which depends on neither H nor momentum.
        momentum: torch's m in [0, 1).
        injected: Q, the covariance of noise added to the velocity at each step `[d, d]`.
        replacement: Whether batches are drawn iid with replacement. `False`: every epoch is a new
            permutation of the N data, cut into batches (the last is dropped if it is short), and the window
            starts with an epoch. The leading term (1) then vanishes for whole epochs, so that
            `preconditioner` and `num_data` are needed.
        num_data: N, for `replacement=False`.

    Returns:
        The covariance `[d, d]`, in the type of `A`.

    Raises:
        ValueError: If the iteration is unstable.
        TypeError, ValueError: If an argument is not as above.

    >>> one, window = torch.ones(1, 1), {"num_iterates": 20, "batch_size": 50}
    >>> 1000 * iterate_average_covariance(one, one, **window)  # in units of the posterior's variance
    tensor([[1.]])
    >>> 1000 * iterate_average_covariance(one, one, preconditioner=0.5, **window)
    tensor([[0.9333]])
    >>> epochs = {"replacement": False, "num_data": 1000}
    >>> 1000 * iterate_average_covariance(one, one, preconditioner=0.5, **epochs, **window)
    tensor([[0.0284]])
    """
    curvature, noise = check_problem(A, C)
    T, S = check_count(num_iterates, "num_iterates"), check_count(batch_size, "batch_size")
    m = check_momentum(momentum)
    if preconditioner is None:
        if injected is not None or not replacement:
            raise ValueError(
                "preconditioner must be given with injected noise or without replacement, got None"
            )
        white = Whitening(curvature)
        return narrow(white.back(white.noise(noise)) / (S * T), A.dtype, "the covariance")
    H = check_preconditioner(preconditioner, curvature)
    extra = torch.zeros_like(noise)
    if injected is not None:
        scale = float((H @ noise @ H).detach().abs().max())
        extra = check_semidefinite(injected, "injected", size=len(noise), scale=scale)
    refuse_unstable(curvature, H, m)
    if not replacement:
        if num_data is None:
            raise ValueError(
                "num_data must be given without replacement, got None; pass the size of the data set"
            )
        n = check_count(num_data, "num_data", least=max(2, S))
        cov = shuffled_average(
            curvature, noise, H, extra, num_iterates=T, batch_size=S, num_data=n, momentum=m
        )
        return narrow(cov, A.dtype, "the covariance")
    white = Whitening(curvature)
    F = transition(white.eye, white.spread(H), m)
    state = solved_discrete(F, state_noise(white.spread(H @ noise @ H / S + extra), m))
    cross = _weighted_powers(F, T) @ state
    total = (T * state + cross + cross.mT) / T**2
    return narrow(white.back(total[: len(noise), : len(noise)]), A.dtype, "the covariance")


def _weighted_powers(F: Tensor, T: int) -> Tensor:
    """Return K = Σ_{k=1}^{T−1} (T − k) Fᵏ: F times the corner of a power, all of whose terms add up."""
    d = len(F)
    eye, zero = torch.eye(d, dtype=F.dtype, device=F.device), torch.zeros_like(F)
    block = torch.cat(
        [torch.cat([F, eye, zero], 1), torch.cat([zero, eye, eye], 1), torch.cat([zero, zero, eye], 1)]
    )
    return F @ torch.linalg.matrix_power(block, T)[:d, 2 * d :]
