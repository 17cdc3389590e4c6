r"""Linear regression whose noise is inferred too: its exact posterior, and the noise of its gradients over it.

θ = (s, β) with s = log σ, and one datum's loss is

    ℓ_i(θ) = s + ½ w (y_i − x_iᵀβ)² − (1/N) log p(β, s),        w = e^{−2s},

with a normal prior N(μ, Λ⁻¹) of the coefficients, Λ diagonal, or a flat one, and any prior p(s). In coordinates z of β
with XᵀX → I and Λ → diag(λ), centred at least squares, the coefficients given s are independent normals,

    z_k | s ~ N( λ_k z⁰_k/(w + λ_k), 1/(w + λ_k) ),                                                       (1)
    log p(s | y) = −N s − ½ w RSS − ½ Σ_k [ w λ_k (z⁰_k)²/(w + λ_k) + log(w + λ_k) ] + log p(s) + const,  (2)

so that all of it is one quadrature over s: no Gaussian approximation, no chain. The residuals given s are normal, hence
the means of the curvature and of the noise over the posterior, A = E[∇²L] and C = E[C(θ)], are too.

These are not those of the mode. There w is N/RSS, on the average (N − d)/RSS, and with 23 data and 8 coefficients that
is a third less; the rows of high leverage have small residuals at the mode alone. H and Q made from the mean A and C
keep the posterior's second moments (`bayessgd.theory.corrected`).

What they do not keep is the skewness of s: the gradient's noise is e^{−4s} for s and e^{−2s} for β, and where it is a
share of the noise the iterates are narrower than the posterior. With f_s and f_j the shares HCH/S has in the noise
2H/N for s and in the direction j of the coefficients and ν = N − d, it was *measured* (`benchmarks/edges.py`) as

    1 − sd ratio of s  ≈  (3 f_s + 0.8 Σ_j f_j)/ν,        of β  ≈  3.3 f_j/ν,                            (3)

to a third of itself while it is below a tenth.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._learned_scale import by_quantile, excess_of_products, narrowing
from bayessgd.theory._matrices import check_preconditioner, check_semidefinite, smallest_scaled
from bayessgd.theory._whitening import Whitening, symmetric
from bayessgd.theory.forecast import Forecast, Posterior, check_few, foretell
from metrics.inputs import check_cloud, check_count, check_generator, check_positive, check_tensor

__all__ = ["LearnedScaleRegression"]

NODES = 801
"""Of the quadrature, over some ten standard deviations each way."""
NEGLIGIBLE = 45.0
"""In nats below the largest density times σ²: e⁻⁴⁵ is 3e-20."""


@dataclass(frozen=True)
class LearnedScaleRegression:
    """Bayesian linear regression with an unknown noise level: exact posterior, mean curvature and mean gradient noise.

    θ is (log σ, β), p = d + 1 numbers in the order in which `LearnedScale(nn.Linear(d, 1, bias=False))` of
    `bayessgd.likelihoods` has its parameters. Everything is float64.

    Args:
        features: x `[n, d]`, of full column rank.
        targets: y `[n]`, of the same type.
        prior_mean: μ, a number or `[d]`.
        prior_precision: The diagonal of Λ, a number or `[d]`, none below 0; 0 for a flat prior.
        log_prior: log p(s) up to a constant, elementwise and twice differentiable; `None` is flat in log σ, and
            `lambda s: s` flat in σ.

    Raises:
        TypeError, ValueError: If an argument is not as above, or the posterior has no variance (too few data).

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]] * 5, dtype=torch.float64)
    >>> problem = LearnedScaleRegression(x, x[:, 1] + torch.tensor([1.0, -1.0] * 10, dtype=torch.float64))
    >>> problem.mean[1:]  # least squares
    tensor([0.6000, 0.6000], dtype=torch.float64)
    """

    features: Float[Tensor, "n d"]
    targets: Float[Tensor, " n"]
    prior_mean: float | int | Tensor = 0.0
    prior_precision: float | int | Tensor = 0.0
    log_prior: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self):
        x = check_cloud(self.features, "features")
        y = check_tensor(self.targets, "targets", shape="[n]", ndim=1)
        if len(x) != len(y):
            raise ValueError(f"targets must have one entry per row of features, {len(x)}, got {len(y)}")
        for name in ("prior_mean", "prior_precision"):
            value = torch.as_tensor(getattr(self, name))
            if value.shape not in ((), (x.shape[1],)) or not bool(value.isfinite().all()):
                got = list(value.shape) if bool(value.isfinite().all()) else "NaN or infinity"
                raise ValueError(f"{name} must be a finite number or [{x.shape[1]}], got {got}")
        if bool((torch.as_tensor(self.prior_precision) < 0).any()):
            raise ValueError("prior_precision must not be below 0, got a negative entry; 0 is a flat prior")
        if not smallest_scaled(self._gram) > 1e-13:
            raise ValueError("features must have full column rank; drop or merge collinear columns")
        _ = self._scales

    @property
    def num_data(self) -> int:
        """N."""
        return len(self.features)

    @cached_property
    def _gram(self) -> Tensor:
        x = self.features.detach().double()
        return x.mT @ x

    @cached_property
    def _basis(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return T with β = β̂ + T z, λ, z⁰ and β̂."""
        d = self.features.shape[1]
        white = Whitening(self._gram)
        values, vectors = torch.linalg.eigh(white.noise(torch.diag(self._ridge)))
        T = torch.linalg.solve_triangular(white.root.mT, vectors, upper=True)
        x, y = self.features.detach().double(), self.targets.detach().double()
        fit = torch.linalg.lstsq(x / x.norm(dim=0), y[:, None]).solution[:, 0] / x.norm(dim=0)
        away = torch.as_tensor(self.prior_mean, dtype=torch.float64).expand(d) - fit
        return T, values.clamp(min=0), vectors.mT @ (white.root.mT @ away), fit

    @cached_property
    def _inverse(self) -> Tensor:
        """T⁻¹, for which TᵀXᵀX is the exact formula and this one loses no digits."""
        white = Whitening(self._gram)
        _, vectors = torch.linalg.eigh(white.noise(torch.diag(self._ridge)))
        return vectors.mT @ white.root.mT

    @property
    def _ridge(self) -> Tensor:
        return torch.as_tensor(self.prior_precision, dtype=torch.float64).expand(self.features.shape[1])

    @cached_property
    def _residuals(self) -> Tensor:
        """Of least squares."""
        return self.targets.detach().double() - self.features.detach().double() @ self._basis[3]

    @cached_property
    def _scales(self) -> tuple[Tensor, Tensor]:
        """The nodes s and the weights of the quadrature."""
        squares = float(self._residuals.square().sum())
        if not squares > 1e-24 * float(self.targets.detach().double().square().sum()):
            raise ValueError("targets must not lie on a plane, got residuals of 0; σ would be 0 too")
        centre = math.log(squares / self.num_data) / 2
        coarse = torch.linspace(centre - 20, centre + 60, 8001, dtype=torch.float64)
        # σ² has to have a mean, for the coefficients to have a variance.
        height = self._log_density(coarse) + 2 * coarse
        if bool(height.isnan().any()):
            raise ValueError(
                "log_prior must be a number or −infinity at every log σ, got NaN; let it return −infinity outside of "
                "its support"
            )
        near = torch.nonzero(height > height.max() - NEGLIGIBLE)[:, 0]
        if not bool(height.isfinite().any()) or int(near[0]) == 0 or int(near[-1]) == len(coarse) - 1:
            raise ValueError(
                f"features must leave enough data for σ, got {self.num_data} rows of {self.features.shape[1]} and a "
                "posterior without a variance; pass more data, fewer columns or a proper prior"
            )
        s = torch.linspace(
            float(coarse[near[0] - 1]), float(coarse[near[-1] + 1]), NODES, dtype=torch.float64
        )
        return s, torch.softmax(self._log_density(s), 0)

    def _log_density(self, s: Tensor) -> Tensor:
        """(2), for any number of nodes."""
        _, ridge, away, _ = self._basis
        w = torch.exp(-2 * s)
        total = w[:, None] + ridge
        pull = (w[:, None] * ridge * away.square() / total + total.log()).sum(1)
        prior = 0 * s if self.log_prior is None else self.log_prior(s).detach()
        return -self.num_data * s - w * self._residuals.square().sum() / 2 - pull / 2 + prior

    @cached_property
    def _given(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return w, and mean and variance of z given s: (1), at every node."""
        _, ridge, away, _ = self._basis
        w = torch.exp(-2 * self._scales[0])
        total = w[:, None] + ridge
        return w, ridge * away / total, 1 / total

    def _mean(self, values: Tensor) -> Tensor:
        """The mean over s of values [nodes, ...]."""
        return torch.einsum("k,k...->...", self._scales[1], values)

    def _to_parameters(self, matrix: Tensor) -> Tensor:
        """A covariance of gradients or a curvature, from (z, s) to (s, β)."""
        jacobian = torch.block_diag(self._inverse, torch.ones(1, 1, dtype=torch.float64))
        return symmetric(jacobian.mT @ matrix @ jacobian).roll((1, 1), (0, 1))

    @cached_property
    def mean(self) -> Float[Tensor, " p"]:
        """The posterior's mean of (log σ, β) `[p]`."""
        T, _, _, fit = self._basis
        s = self._mean(self._scales[0])
        return torch.cat([s[None], fit + T @ self._mean(self._given[1])])

    @cached_property
    def covariance(self) -> Float[Tensor, "p p"]:
        """The posterior's covariance of (log σ, β) `[p, p]`."""
        _, z, u = self._given
        both = torch.cat([z, self._scales[0][:, None]], 1)
        both = both - self._mean(both)
        spread = self._mean(both[:, :, None] * both[:, None, :])
        spread = spread + torch.diag(torch.cat([self._mean(u), torch.zeros(1, dtype=torch.float64)]))
        back = torch.block_diag(self._basis[0], torch.ones(1, 1, dtype=torch.float64))
        return symmetric(back @ spread @ back.mT).roll((1, 1), (0, 1))

    @cached_property
    def curvature(self) -> Float[Tensor, "p p"]:
        """A = E_p[∇²L] `[p, p]`, of the mean negative log joint, over the posterior and not at its mode."""
        ridge = torch.diag(torch.cat([self._basis[1], -self._bend[None]])) / self.num_data
        return self._data_curvature + self._to_parameters(ridge)

    @cached_property
    def _bend(self) -> Tensor:
        """E[(log p)″(s)]."""
        if self.log_prior is None:
            return torch.zeros((), dtype=torch.float64)
        law = self.log_prior
        second = torch.func.grad(torch.func.grad(lambda t: law(t[None])[0]))
        return self._mean(torch.func.vmap(second)(self._scales[0]))

    @cached_property
    def _data_curvature(self) -> Tensor:
        w, z, u = self._given
        d = z.shape[1]
        A = torch.zeros(d + 1, d + 1, dtype=torch.float64)
        A[:d, :d] = self._mean(w) * torch.eye(d, dtype=torch.float64)
        A[:d, d] = A[d, :d] = -2 * self._mean(w[:, None] * z)
        A[d, d] = 2 * self._mean(w * (self._residuals.square().sum() + (z.square() + u).sum(1)))
        return self._to_parameters(A / self.num_data)

    @cached_property
    def _rows(self) -> Tensor:
        """The rows of the features in the coordinates z."""
        return self.features.detach().double() @ self._basis[0]

    @cached_property
    def _powers(self) -> tuple[Tensor, Tensor, Tensor]:
        """E[w r_i], E[w r_i²] `[n]` and E[w² r_iᵏ] for k = 0 … 4 `[5, n]`."""
        w, z, u = self._given
        B = self._rows
        m, v = self._residuals - z @ B.mT, u @ B.square().mT
        w = w[:, None]
        square = m.square() + v
        fourth = m**4 + 6 * m.square() * v + 3 * v.square()
        every = torch.stack([torch.ones_like(m), m, square, m**3 + 3 * m * v, fourth], 1)
        return self._mean(w * m), self._mean(w * square), self._mean(w[:, None].square() * every)

    @cached_property
    def mean_noise(self) -> Float[Tensor, "p p"]:
        """C = E_p[C(θ)] `[p, p]`: one datum's gradient's covariance (with N, not N − 1), over the posterior."""
        w, z, u = self._given
        B, n, d = self._rows, self.num_data, z.shape[1]
        first, second, powers = self._powers
        C = torch.zeros(d + 1, d + 1, dtype=torch.float64)
        C[:d, :d] = B.mT @ (powers[2][:, None] * B) / n
        C[:d, d] = C[d, :d] = -B.mT @ (first - powers[3]) / n
        C[d, d] = (1 - 2 * second + powers[4]).mean()
        # Less E[ḡḡᵀ] with ḡ = (w z, N − w(RSS + |z|²))/N.
        q, bare = (z.square() + u).sum(1), 1 - w * self._residuals.square().sum() / n
        spread = (2 * u.square() + 4 * z.square() * u).sum(1)
        outer = z[:, :, None] * z[:, None, :] + torch.diag_embed(u)
        C[:d, :d] -= self._mean(w[:, None, None].square() * outer) / n**2
        cross = w[:, None] * (bare[:, None] * z - w[:, None] / n * (z * q[:, None] + 2 * u * z))
        C[:d, d] -= self._mean(cross) / n
        C[d, :d] = C[:d, d]
        C[d, d] -= self._mean((bare - w * q / n).square() + (w / n).square() * spread)
        return self._to_parameters(C)

    @cached_property
    def leverage(self) -> Float[Tensor, " n"]:
        """How far the fit at x_i is drawn to y_i `[n]`, in [0, 1], at the mean of w; for a flat prior xᵢᵀ(XᵀX)⁻¹xᵢ."""
        w = self._mean(self._given[0])
        return (self._rows.square() * (w / (w + self._basis[1]))).sum(1)

    def draws(self, num: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "num p"]:
        """Independent draws of (log σ, β) from the posterior `[num, p]`."""
        count = check_count(num, "num")
        check_generator(generator)
        s, weights = self._scales
        uniform = torch.rand(count, dtype=torch.float64, generator=generator)
        scale = by_quantile(s, weights, uniform)
        T, ridge, away, fit = self._basis
        total = torch.exp(-2 * scale)[:, None] + ridge
        normal = torch.randn(count, len(fit), dtype=torch.float64, generator=generator)
        z = ridge * away / total + normal * total.rsqrt()
        return torch.cat([scale[:, None], fit + z @ T.mT], 1)

    def forecast(
        self,
        *,
        preconditioner: float | int | Tensor,
        batch_size: int,
        injected: Float[Tensor, "p p"] | None = None,
        tolerance: float | int = 0.07,
        warn: bool = True,
    ) -> Forecast:
        """The standard deviations of constant SGD on (log σ, β) over the posterior's, with a warning if they are off.

        Second moments, with the measured narrowing (3) of skewness taken off: no theorem, but checked in
        `benchmarks/edges.py`. The gradients of log σ grow as e^{−2 log σ}, so that where rare excursions are told of a
        chain may leave for good.

        Args:
            preconditioner: H over (log σ, β): a number, a vector `[p]` or a matrix `[p, p]`.
            batch_size: S, iid with replacement from these data.
            injected: Q, the covariance of noise added at each step `[p, p]`.
            tolerance: How far from 1 a ratio may be before it warns.
            warn: Whether it warns; the forecast's `causes` say the same.

        Raises:
            TypeError, ValueError: If an argument is not as above, or p is above 64.
        """
        check_few(len(self.mean))
        H, S = check_preconditioner(preconditioner, self.curvature), check_count(batch_size, "batch_size")
        allowed, C, n = check_positive(tolerance, "tolerance"), self.mean_noise, self.num_data
        noisy = H @ C @ H / S
        Q = torch.zeros_like(H)
        if injected is not None:
            Q = check_semidefinite(injected, "injected", size=len(H), scale=float(noisy.abs().max()))
        slope = symmetric(torch.cholesky_inverse(torch.linalg.cholesky(n * self.covariance)))
        white = Whitening(slope)
        x = self.features.detach().double()
        excess = excess_of_products(x, self._powers[2], white, white.noise(self._data_curvature))
        law = Posterior(white, white.noise(self.curvature), white.noise(C), n, excess, self.leverage)
        lost = narrowing(H, noisy, self._inverse, num_data=n, fitted=float(self.leverage.sum()))
        found = foretell(law, H, Q, batch_size=S, tolerance=allowed, lost=lost)
        if warn:
            found.warn()
        return found
