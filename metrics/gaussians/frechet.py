"""Gaussians in closed form: Fréchet and Bures–Wasserstein distances, the KL divergence.

The squared 2-Wasserstein distance of two Gaussians (Dowson & Landau 1982; Olkin & Pukelsheim 1982) is

    W₂²(N(μ, Σ), N(ν, T)) = ‖μ − ν‖² + Tr Σ + Tr T − 2 Tr (Σ^½ T Σ^½)^½.

With any factors Σ = AᵀA and T = BᵀB the last trace is the nuclear norm ‖ABᵀ‖_* (the sum of the singular
values): Σ^½ = QA for an orthogonal Q, so Σ^½ T Σ^½ = (QABᵀ)(QABᵀ)ᵀ. No matrix root is taken, nothing is
squared that a root has to undo, and a singular Σ costs no accuracy. The Fréchet distance (FID in Inception
features, Heusel et al. 2017, eq. 6) is W₂² of the Gaussians that are fitted to two clouds; the factors are
then the centred clouds themselves, or their QR factors.

The gradient uses that ‖M‖_* = max ⟨W, M⟩ over spectral norms ‖W‖ ≤ 1, attained at W = UVᵀ from M = USVᵀ:
with W held fixed, ⟨W, ABᵀ⟩ has the value and the gradient of the nuclear norm (the envelope theorem), with
no division by gaps between or by small singular values. Where M is singular it is the subgradient of least
norm. A second derivative would need that of W, and is refused.

The Fréchet distance of clouds is biased upwards: between two clouds of N(0, I_d), N and M points, its mean is
(1/N + 1/M)·d(d + 5)/4 to first order; d from the means, d(d + 1)/4 from the covariances.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.envelope import attach
from metrics.gaussians.factors import mean_and_root
from metrics.gaussians.maps import slopes, transport_between
from metrics.inputs import check_pair, check_tensor
from metrics.precision import full_precision
from metrics.weights import weighted

__all__ = ["bures_wasserstein", "check_gaussians", "frechet_distance", "frechet_from_factors", "gaussian_kl"]


@full_precision
def frechet_distance(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    weights_x: Float[Tensor, " n"] | None = None,
    weights_y: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, ""]:
    """Return W₂² of the Gaussians fitted to two clouds: ‖μ₁−μ₂‖² + Tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½).

    Args:
        x: Samples (or features of them), [n, d], n ≥ 2; d may exceed n.
        y: Samples, [m, d], m ≥ 2.
        weights_x: Weights of x, normalised to sum one; None is uniform; zeros are allowed. The covariance is
            Σ a_i c_i c_iᵀ/(1 − Σ a_i²), c_i = x_i − Σ a_i x_i: of weights of independent points, not of multiplicities,
            which would have N − 1 of N repeated points in it.
        weights_y: Weights of y.

    Returns:
        A 0-dim tensor in the squared units of x, never negative, differentiable in clouds and weights; covariances are
        divided by n − 1. Biased upwards, by about (1/n + 1/m)·d(d + 5)/4 for two clouds of N(0, I). Without a gradient
        the points are taken in blocks, and memory is that of matrices of d × d.

    Raises:
        ValueError: Clouds that cannot be compared, a single point (with weight), weights that are no weights; a
            gradient at a point without weight where the others' covariance is singular.

    >>> x = torch.tensor([[0.0], [2.0]])  # mean 1, variance 2
    >>> frechet_distance(x, 2 * x)  # (2 − 1)² + (√8 − √2)²
    tensor(3.)
    """
    check_pair(x, y, least=2)
    dtype, sides = x.dtype, ((x, weights_x, "weights_x"), (y, weights_y, "weights_y"))
    (x, a), (y, b) = (weighted(*side, least=2) for side in sides)
    live = any(t is not None and t.requires_grad for t in (x, y, a, b))
    if not (torch.is_grad_enabled() and live):
        (mean_x, r), (mean_y, s) = mean_and_root(x, a), mean_and_root(y, b)
        return frechet_from_factors(mean_x - mean_y, r, s).to(dtype)
    if a is not None or b is not None:
        return _with_slopes(x.double(), y.double(), a, b).to(dtype)
    (mean_x, f), (mean_y, g) = (_moments(cloud.double()) for cloud in (x, y))
    return frechet_from_factors(mean_x - mean_y, f, g).to(dtype)


@full_precision
def bures_wasserstein(
    mean_p: Float[Tensor, " d"],
    cov_p: Float[Tensor, "d d"],
    mean_q: Float[Tensor, " d"],
    cov_q: Float[Tensor, "d d"],
) -> Float[Tensor, ""]:
    """Return the squared 2-Wasserstein distance of N(mean_p, cov_p) and N(mean_q, cov_q).

    Args:
        mean_p: [d].
        cov_p: [d, d], symmetric and positive semi-definite; it may be singular.
        mean_q: [d].
        cov_q: [d, d], as cov_p.

    Returns:
        A 0-dim tensor, never negative; differentiable where both covariances are positive definite.

    Raises:
        ValueError: Shapes that do not fit, a covariance that is not symmetric or has a negative eigenvalue.

    >>> zero, one, eye = torch.zeros(3), torch.ones(3), torch.eye(3)
    >>> bures_wasserstein(zero, eye, one, 4 * eye)  # 3·1² + 3·(2 − 1)²
    tensor(6.)
    """
    check_gaussians(mean_p, cov_p, mean_q, cov_q)
    a, b = _factor(cov_p, "cov_p"), _factor(cov_q, "cov_q")
    return frechet_from_factors(mean_p.double() - mean_q.double(), a, b).to(mean_p.dtype)


def frechet_from_factors(
    gap: Float[Tensor, " d"], a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]
) -> Float[Tensor, ""]:
    """Return `frechet_distance` from the gap between the means and any factors of the covariances, AᵀA and BᵀB.

    >>> eye = torch.eye(2)
    >>> frechet_from_factors(torch.ones(2), eye, -3 * eye)  # 2·1² + 2·(3 − 1)²
    tensor(10.)
    """
    value = gap.square().sum() + a.square().sum() + b.square().sum() - 2 * _nuclear_norm_of_product(a, b)
    # Equal Gaussians leave a rounding of either sign.
    return value.clamp(min=0)


@full_precision
def gaussian_kl(
    mean_p: Float[Tensor, " d"],
    cov_p: Float[Tensor, "d d"],
    mean_q: Float[Tensor, " d"],
    cov_q: Float[Tensor, "d d"],
) -> Float[Tensor, ""]:
    """Return KL(N(mean_p, cov_p) ‖ N(mean_q, cov_q)) in nats.

    KL = ½ (Tr Σ_q⁻¹Σ_p + (μ_q − μ_p)ᵀ Σ_q⁻¹ (μ_q − μ_p) − d + ln det Σ_q − ln det Σ_p). With Σ_p = LLᵀ, Σ_q
    = KKᵀ and the lower triangular M = K⁻¹L this is ½ (Σ_i (m_ii² − 1 − 2 ln m_ii) + Σ_{i>j} m_ij² +
    ‖K⁻¹(μ_q − μ_p)‖²): no term is negative.

    Args:
        mean_p: [d].
        cov_p: [d, d], symmetric and positive definite.
        mean_q: [d].
        cov_q: [d, d], symmetric and positive definite.

    Returns:
        A 0-dim tensor, never negative, differentiable.

    Raises:
        ValueError: Shapes that do not fit, a covariance that is not symmetric or not positive definite.

    >>> zero, eye = torch.zeros(1), torch.eye(1)
    >>> gaussian_kl(zero, eye, zero, 4 * eye)  # ½ (1/4 − 1 + ln 4)
    tensor(0.3181)
    """
    check_gaussians(mean_p, cov_p, mean_q, cov_q)
    low, roof = _cholesky(cov_p, "cov_p"), _cholesky(cov_q, "cov_q")
    gap = (mean_q.double() - mean_p.double())[:, None]
    ratio = torch.linalg.solve_triangular(roof, torch.cat([low, gap], 1), upper=False)
    m, shift = ratio[:, :-1], ratio[:, -1]
    diagonal = m.diagonal()
    # m² − 1 − 2 ln m through m − 1, so that equal Gaussians are at 0 and near ones do not cancel.
    off = diagonal - 1
    scale = (off * (diagonal + 1) - 2 * off.log1p()).sum()
    value = 0.5 * (scale + m.tril(-1).square().sum() + shift.square().sum())
    return value.clamp(min=0).to(mean_p.dtype)


def _with_slopes(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
    """The distance of weighted clouds, with the slopes of `metrics.gaussians.maps`."""
    a, b = (z.new_full((len(z),), 1 / len(z)) if w is None else w for z, w in ((x, a), (y, b)))
    p, q = mean_and_root(x, a), mean_and_root(y, b)
    found = transport_between(p, q)
    for w, (_, root), name in ((a, p, "weights_x"), (b, q, "weights_y")):
        if w.requires_grad and bool((w == 0).any()) and int(torch.linalg.matrix_rank(root)) < x.shape[1]:
            raise ValueError(
                f"{name} must be positive for their gradient where the covariance is singular, got a zero: a point "
                "without weight may lie where the others do not, and the slope there is infinite; leave it out"
            )
    of_x, of_a = slopes(x, a, p, found.gap, found.forth)
    of_y, of_b = slopes(y, b, q, -found.gap, found.back)
    return attach(found.value, (x, y, a, b), (of_x, of_y, of_a, of_b))


def _moments(cloud: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and a factor A of the covariance AᵀA."""
    mean = cloud.mean(0)
    return mean, (cloud - mean) / (len(cloud) - 1) ** 0.5


def _nuclear_norm_of_product(a: Tensor, b: Tensor) -> Tensor:
    """‖ABᵀ‖_* for factors [n, d], [m, d], with the gradient of the envelope theorem."""
    with torch.no_grad():
        if not (a.requires_grad or b.requires_grad):
            return torch.linalg.svdvals(_root(a) @ _root(b).T).sum()
        (q, r), (p, s) = _tall(a), _tall(b)
        product = r @ s.T
        u, values, vt = torch.linalg.svd(product, full_matrices=False)
        # A direction in which the product vanishes has no slope of its own; its singular vectors are
        # rounding.
        kept = values > values.max() * torch.finfo(values.dtype).eps * max(product.shape)
        left, right = q @ (u * kept), p @ vt.T
        of_a, of_b = left.T @ a, right.T @ b
        value, slopes = (of_a * of_b).sum(), (left @ of_b, right @ of_a)
    return attach(value, (a, b), slopes)


def _tall(factor: Tensor) -> tuple[Tensor, Tensor]:
    """The QR factors of a tall matrix, and (1, A) of a wide one: no SVD is larger than d × d."""
    n, d = factor.shape
    if n > d:
        q, r = torch.linalg.qr(factor)
        return q, r
    return torch.eye(n, dtype=factor.dtype, device=factor.device), factor


def _root(factor: Tensor) -> Tensor:
    """The R of the QR factors of a tall matrix: AᵀA = RᵀR."""
    return torch.linalg.qr(factor, mode="r").R if factor.shape[0] > factor.shape[1] else factor


def check_gaussians(mean_p: object, cov_p: object, mean_q: object, cov_q: object) -> None:
    """Refuse means and covariances of no two Gaussians of one space and type."""
    means = [
        check_tensor(m, name, shape="[d]", ndim=1) for m, name in ((mean_p, "mean_p"), (mean_q, "mean_q"))
    ]
    d = len(means[0])
    if len(means[1]) != d:
        raise ValueError(
            f"mean_p and mean_q must have the same length, got {d} and {len(means[1])}; compare one space"
        )
    covs = [check_tensor(c, name, shape="[d, d]", ndim=2) for c, name in ((cov_p, "cov_p"), (cov_q, "cov_q"))]
    for cov, name in zip(covs, ("cov_p", "cov_q"), strict=True):
        if cov.shape != (d, d):
            raise ValueError(f"{name} must have shape [{d}, {d}] as its mean has, got {list(cov.shape)}")
        lopsided = float((cov - cov.T).detach().abs().max())
        if lopsided > _rounding(cov):
            raise ValueError(f"{name} must be symmetric, got a gap of {lopsided:.3g}; symmetrise it")
    kinds = {(t.dtype, t.device) for t in (*means, *covs)}
    if len(kinds) > 1:
        raise TypeError(
            f"means and covariances must share one dtype and device, got {kinds}; convert with .to()"
        )


def _rounding(cov: Tensor) -> float:
    """What a matrix computed in its type may be off by: sums of d terms, with a wide margin."""
    return 100 * len(cov) * torch.finfo(cov.dtype).eps * float(cov.detach().abs().max())


def _cholesky(cov: Tensor, name: str) -> Tensor:
    symmetric = (cov.double() + cov.double().T) / 2
    factor, info = torch.linalg.cholesky_ex(symmetric)
    if int(info) > 0:
        raise ValueError(
            f"{name} must be positive definite, got a leading block of size {int(info)} that is not; "
            "add a multiple of the identity"
        )
    return factor


def _factor(cov: Tensor, name: str) -> Tensor:
    """A with AᵀA = cov: Cholesky's where it exists, else from the eigenvalues."""
    symmetric = (cov.double() + cov.double().T) / 2
    factor, info = torch.linalg.cholesky_ex(symmetric)
    if int(info) == 0:
        return factor.T
    values, vectors = torch.linalg.eigh(symmetric)
    lowest = float(values[0].detach())
    if lowest < -_rounding(cov):
        raise ValueError(
            f"{name} must be positive semi-definite, got an eigenvalue of {lowest:.3g}; a covariance has none"
        )
    return (vectors * values.clamp(min=0).sqrt()).T
