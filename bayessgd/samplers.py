r"""Samplers of batches, made from a posterior's mode, its curvature A and its noise C (`bayessgd.optimum`).

All of them step θ ← θ − Hĝ(θ) + Q^½ξ on batches of S data drawn with replacement; near the mode of N data, where A and
C hardly change, the iterates then have the posterior's covariance (NA)⁻¹ (`bayessgd.theory`).

    exact_sgd            H* = 2(A + NC/S)⁻¹, Q = 0: the batches' own noise is all there is
    corrected            H = sH*, Q = 2s(1 − s)H*/N: shorter steps, and the noise that is then missing
    iterate_averaging    H = hA⁻¹ and the means of N/S iterates: A⁻¹CA⁻¹/N, the posterior where C ≈ A
    control_variate      H = hA⁻¹ and batches whose noise vanishes at the mode: a fraction of a pass per draw

The first and the third have the batches' noise alone: a direction that no datum's gradient moves in (an input that is
always zero, a dead unit) has a prior's width in the posterior and none among their draws, and they refuse it.

*Q of `corrected`.* With H = sH*, HAH + (N/S)HCH = s²H*(A + NC/S)H* = 2s²H*, and (2H − HAH)/N − HCH/S = 2(s − s²)H*/N.

*Which.* A and C are those of the mode; where they change over the posterior's width (few data, skewed posteriors) there
is a bias that shorter steps do not cure: `theory.LearnedScaleRegression` has their means for regressions, and
`reference.nuts` needs neither. With plain batches a draw costs a pass over the data at least, whatever S
(`benchmarks/large_data`); with control variates it does not.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bayessgd import theory
from bayessgd.modes import Optimum
from bayessgd.noise import control_variate_noise
from metrics.inputs import check_count, check_fraction

__all__ = ["Sampler", "control_variate", "corrected", "exact_sgd", "iterate_averaging"]

LONGEST_BATCH = 1000
LEAST_NOISE = 1e-3
"""The least share of the posterior's variance, in any direction, that the batches alone have to make."""
RELAXATIONS = 10
"""Of burn-in: e⁻¹⁰ of where a chain started is left."""


@dataclass(frozen=True)
class Sampler:
    """How chains step, and which iterates are draws.

    Attributes:
        name: What it is called where it is told of.
        batch_size: S.
        preconditioner: H `[p, p]`.
        injected: Q `[p, p]`, the covariance of one step's noise; `None` injects nothing.
        burn_in: Steps before the first draw.
        thin: Steps between draws.
        window: T, where draws are the means of T iterates; the same as `thin`.
        anchored: Whether the gradients have the mode's as control variate.
        passes: What making it cost, in passes over the data.
    """

    name: str
    batch_size: int
    preconditioner: Tensor
    injected: Tensor | None
    burn_in: int
    thin: int
    window: int | None = None
    anchored: bool = False
    passes: int = 0


def exact_sgd(at: Optimum, *, batch_size: int | None = None) -> Sampler:
    """SGD with H* = 2(A + NC/S)⁻¹ and no noise but the batches'.

    A draw is every 1/r steps, after ten times as many; r is the least of λ and 2 − λ over the eigenvalues λ of H*A: a
    mode's error is multiplied by 1 − λ in a step, and the less noise a direction has the nearer λ comes to 2.

    Args:
        at: The mode.
        batch_size: S; `None` is N/10, at least 2 and at most 1000.

    Raises:
        TypeError, ValueError: Arguments that are not as above; a direction with hardly any gradient noise.
    """
    return _with_share(at, batch_size, 1.0, "exact SGD")


def corrected(at: Optimum, *, batch_size: int | None = None, share: float = 0.5) -> Sampler:
    """The same with steps shorter by `share`, and the noise that is then missing.

    Args:
        at: The mode.
        batch_size: S; `None` is N/10, at least 2 and at most 1000.
        share: s in (0, 1); smaller is nearer to Langevin's diffusion, less sensitive to C, and dearer.

    Raises:
        TypeError, ValueError: Arguments that are not as above.
    """
    return _with_share(at, batch_size, check_fraction(share, "share"), "corrected SGD")


def _with_share(at: Optimum, batch_size: int | None, share: float, name: str) -> Sampler:
    n, S = _data_of(at), _batch(at, batch_size)
    exact = theory.optimal_preconditioner(at.noise, num_data=n, batch_size=S, A=at.curvature)
    H = share * exact
    rates = torch.linalg.eigvals((H @ at.curvature).double()).real
    slowest = min(float(rates.min()), 2 - float(rates.max()))
    if share == 1 and 2 - float(rates.max()) < 2 * LEAST_NOISE:
        raise _without_noise(name)
    thin = max(1, round(1 / slowest))
    Q = None if share == 1 else 2 * (1 - share) / n * H
    return Sampler(name, S, H, Q, burn_in=RELAXATIONS * thin, thin=thin)


def iterate_averaging(at: Optimum, *, batch_size: int | None = None, share: float = 0.2) -> Sampler:
    """Means of T = N/S iterates at H = hA⁻¹ (Mandt, Hoffman & Blei 2017, section 6).

    Its covariance is A⁻¹CA⁻¹/N, the sandwich: the posterior's where the model is right and its C ≈ A, and never where a
    scale is inferred (log σ moves up, `benchmarks/results/posteriordb.md`).

    Args:
        at: The mode.
        batch_size: S; `None` is N/100, at least 2 and at most 1000.
        share: h in (0, 1).

    Raises:
        TypeError, ValueError: Arguments that are not as above; a direction with hardly any gradient noise.
    """
    n = _data_of(at)
    if float(torch.linalg.eigvals((at.inverse @ at.noise).double()).real.min()) < LEAST_NOISE:
        raise _without_noise("iterate averaging")
    S = min(LONGEST_BATCH, max(2, n // 100)) if batch_size is None else check_count(batch_size, "batch_size")
    T = max(1, round(n / S))
    H = check_fraction(share, "share") * at.inverse
    return Sampler("iterate averaging", S, H, None, burn_in=4 * T, thin=T, window=T)


def control_variate(at: Optimum, *, batch_size: int | None = None, share: float = 0.25) -> Sampler:
    """H = hA⁻¹ on batches whose noise vanishes at the mode (`noise.control_variate`), and the noise that is missing.

    Args:
        at: The mode.
        batch_size: S; `None` is as large that the batches make half of the noise that H needs in the worst direction,
            or 100.
        share: h in (0, 1).

    Raises:
        TypeError, ValueError: Arguments that are not as above; S too small for this h: the batches alone are hotter
            than the posterior.
    """
    n, h = _data_of(at), check_fraction(share, "share")
    given = None if batch_size is None else check_count(batch_size, "batch_size")
    noise = control_variate_noise(at.model, at.datum, at.x, at.y, root=at.root, anchor=at.params)
    # Q of H = hA⁻¹ is (2h − h²)A⁻¹/N − h²A⁻¹C̃A⁻¹/S: a covariance from this S on.
    least = h / (2 - h) * n * float(torch.linalg.eigvals((at.inverse @ noise).double()).real.max())
    S = max(100, round(2 * least)) if given is None else given
    if least > S:
        raise ValueError(
            f"batch_size must be at least {math.ceil(least)} for share={h:g}, got {S}: the batches alone are hotter "
            "than the posterior; enlarge it or lower share"
        )
    H = h * at.inverse
    Q = theory.injected_noise(at.curvature, noise, preconditioner=H, num_data=n, batch_size=S)
    thin = max(1, round(0.5 / h))
    # One more pass for the gradient at the mode.
    return Sampler("control variate", S, H, Q, 20 * thin, thin, anchored=True, passes=len(at.curvature) + 2)


def _data_of(at: object) -> int:
    if not isinstance(at, Optimum):
        raise TypeError(f"at must be what bayessgd.optimum returns, got {type(at).__name__}")
    return at.num_data


def _without_noise(name: str) -> ValueError:
    return ValueError(
        f"at must have gradient noise in every direction for {name}, whose draws have no other width, but in one the "
        "data's gradients hardly differ, as for an input that is always zero; take samplers.corrected, which adds the "
        "noise that is missing"
    )


def _batch(at: Optimum, batch_size: int | None) -> int:
    if batch_size is None:
        return min(LONGEST_BATCH, max(2, at.num_data // 10))
    return check_count(batch_size, "batch_size")
