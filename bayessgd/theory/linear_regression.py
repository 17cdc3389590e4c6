r"""Linear regression: the covariance of the gradient depends on the parameters, and is solved for exactly.

One datum's loss is ℓ_i(θ) = ½ β (y_i − x_iᵀθ)² + ½ (α/N) ‖θ‖², with a noise precision β and a prior
precision α. Its gradient is H_i θ − β y_i x_i with its own Hessian H_i = β x_i x_iᵀ + (α/N) I, so that away
from the optimum θ*, where A = mean H_i and V = the covariance of the gradients at θ*,

    C(θ) = V + terms linear in θ − θ* + E[H_i (θ−θ*)(θ−θ*)ᵀ H_i] − A (θ−θ*)(θ−θ*)ᵀ A.

The mean of a stationary θ is θ*, the linear terms average out, and with the stationary covariance Σ

    C(Σ) = V + E[H_i Σ H_i] − A Σ A.                                                                      (1)

Σ solves the Lyapunov equation of `bayessgd.theory.stationary` with C(Σ) in it. Let Λ(W) be that equation's
solution for the noise W. The map Σ ↦ Λ(H C(Σ) H / S + Q) is affine, and its linear part

    R(Σ) = Λ( H (E[H_i Σ H_i] − A Σ A) H ) / S                                                            (2)

is a positive operator on symmetric matrices: the covariance exists if and only if the spectral radius of R
is below one
(mean-square stability, stricter than stability of the mean), and solves d(d+1)/2 linear equations (I − R) Σ
= Σ_V. All of this holds for data drawn iid with replacement from these N rows; E is the mean over them.

It is solved in the coordinates in which A is the identity. A datum's part in E[H_i Σ H_i] at Σ = (NA)⁻¹ is
its leverage, β x_iᵀ(NA)⁻¹x_i: a single row of leverage .6 makes the noise over the posterior, C((NA)⁻¹),
much larger than V, where its own residual is small because the fit runs through it. An H or a Q that is made for V then
leaves iterates that are too wide, or none that settle; `mean_noise` makes them exact, and `forecast` tells before a run
(`bayessgd.theory.forecast`).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._matrices import (
    check_momentum,
    check_preconditioner,
    check_semidefinite,
    narrow,
    rounded_down,
    smallest_scaled,
)
from bayessgd.theory._whitening import Whitening, symmetric
from bayessgd.theory.forecast import Forecast, Posterior, check_few, foretell, radius_of, symmetric_basis
from bayessgd.theory.lyapunov import solved_discrete
from bayessgd.theory.stationary import refuse_unstable, transition
from metrics.inputs import check_cloud, check_count, check_positive, check_tensor

__all__ = ["LinearRegression"]


@dataclass(frozen=True)
class LinearRegression:
    """Bayesian linear regression with known noise: posterior, gradient noise and SGD's stationary law.

    Args:
        features: x `[n, d]`.
        targets: y `[n]`, of the same type.
        noise_precision: β, one over the variance of y given x.
        prior_precision: α, one over the variance of each weight under the prior; 0 for a flat prior.

    Raises:
        TypeError, ValueError: If an argument is not as above, or the posterior is improper.

    >>> x = torch.tensor([[1.0], [2.0], [3.0], [-2.0]])
    >>> problem = LinearRegression(x, torch.tensor([1.0, 1.0, 3.0, -3.0]))
    >>> problem.curvature, problem.optimum  # 18/4 and 18/18
    (tensor([[4.5000]]), tensor([1.]))
    >>> problem.stationary_covariance(preconditioner=0.1, batch_size=2)
    tensor([[0.0152]])
    """

    features: Float[Tensor, "n d"]
    targets: Float[Tensor, " n"]
    noise_precision: float | int = 1.0
    prior_precision: float | int = 0.0

    def __post_init__(self):
        x = check_cloud(self.features, "features")
        y = check_tensor(self.targets, "targets", shape="[n]", ndim=1)
        if len(x) != len(y):
            raise ValueError(f"targets must have one entry per row of features, {len(x)}, got {len(y)}")
        check_positive(self.noise_precision, "noise_precision")
        if self.prior_precision != 0:
            check_positive(self.prior_precision, "prior_precision")
        if not smallest_scaled(self._A) > 1e-13:
            raise ValueError(
                "features must have full column rank where prior_precision is 0; pass a proper prior"
            )

    @property
    def num_data(self) -> int:
        """N."""
        return len(self.features)

    @cached_property
    def _x(self) -> Tensor:
        return self.features.double()

    @cached_property
    def _eye(self) -> Tensor:
        return torch.eye(self.features.shape[1], dtype=torch.float64, device=self.features.device)

    @cached_property
    def _A(self) -> Tensor:
        gram = self._x.mT @ self._x / self.num_data
        return self.noise_precision * gram + self.prior_precision / self.num_data * self._eye

    @cached_property
    def _optimum(self) -> Tensor:
        mean = self.noise_precision * self._x.mT @ self.targets.double() / self.num_data
        return torch.cholesky_solve(mean[:, None], self._white.root)[:, 0]

    @cached_property
    def _white(self) -> Whitening:
        return Whitening(self._A)

    @cached_property
    def _z(self) -> Tensor:
        """The rows of the features where A is the identity."""
        return torch.linalg.solve_triangular(self._white.root, self._x.mT, upper=False).mT

    @cached_property
    def _V(self) -> Tensor:
        residual = self._x @ self._optimum - self.targets.double()
        gradients = self.noise_precision * residual[:, None] * self._x
        centred = gradients - gradients.mean(0)
        return symmetric(centred.mT @ centred / self.num_data)

    @property
    def curvature(self) -> Float[Tensor, "d d"]:
        """A = mean H_i `[d, d]`; the posterior's covariance is (N A)⁻¹."""
        return self._A.to(self.features.dtype)

    @property
    def optimum(self) -> Float[Tensor, " d"]:
        """θ* `[d]`: the posterior's mean."""
        return self._optimum.to(self.features.dtype)

    @property
    def noise_at_optimum(self) -> Float[Tensor, "d d"]:
        """V `[d, d]`: the covariance of one datum's gradient at θ*, over these data (with N, not N − 1)."""
        return self._V.to(self.features.dtype)

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """(N A)⁻¹ `[d, d]`: the posterior's covariance."""
        return narrow(
            self._white.back(self._white.eye) / self.num_data, self.features.dtype, "the covariance"
        )

    @property
    def leverage(self) -> Float[Tensor, " n"]:
        """β x_iᵀ (N A)⁻¹ x_i `[n]` in [0, 1]: how far the fit at x_i is drawn to y_i; with a flat prior their sum is d.

        >>> LinearRegression(torch.tensor([[1.0], [2.0], [2.0]]), torch.ones(3)).leverage
        tensor([0.1111, 0.4444, 0.4444])
        """
        return (self.noise_precision * self._z.square().sum(1) / self.num_data).to(self.features.dtype)

    @property
    def mean_noise(self) -> Float[Tensor, "d d"]:
        """C((NA)⁻¹) `[d, d]`: the noise's mean over the posterior, with which H and Q are exact for this regression.

        `optimal_preconditioner(mean_noise, A=curvature, ...)` and `injected_noise(curvature, mean_noise, ...)` leave
        the iterates with exactly the posterior's covariance, where there is one.
        """
        return self._mean_noise.to(self.features.dtype)

    @cached_property
    def _mean_noise(self) -> Tensor:
        root = self._white.root
        return symmetric(self._V + root @ self._excess(self._white.eye / self.num_data, self._z) @ root.mT)

    def noise(self, cov: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
        """C(Σ) `[d, d]`, equation (1): the mean covariance of one datum's gradient when θ has covariance Σ.

        >>> problem = LinearRegression(torch.tensor([[1.0], [-1.0]]), torch.tensor([1.0, 1.0]))
        >>> problem.noise(torch.tensor([[2.0]]))  # all H_i are equal, so that it is V
        tensor([[1.]])
        """
        sigma = check_semidefinite(cov, "cov", size=self.features.shape[1])
        return (self._V + self._excess(sigma, self._x)).to(cov.dtype)

    def _excess(self, sigma: Tensor, x: Tensor) -> Tensor:
        """Return E[H_i Σ H_i] − A Σ A for any number of matrices, by which C(Σ) exceeds V, in the coordinates of x.

        The ridge's constant part of H_i drops out of this covariance, like any other constant.
        """
        beta = self.noise_precision
        gram = beta * x.mT @ x / self.num_data
        weights = torch.einsum("ni,...ij,nj->...n", x, sigma, x)
        fourth = beta**2 * torch.einsum("ni,...n,nj->...ij", x, weights, x) / self.num_data
        return symmetric(fourth - gram @ sigma @ gram)

    def stationary_covariance(
        self,
        *,
        preconditioner: float | int | Tensor,
        batch_size: int,
        momentum: float | int = 0.0,
        injected: Float[Tensor, "d d"] | None = None,
    ) -> Float[Tensor, "d d"]:
        """Σ of constant SGD on this regression, exact at any step size and batch size.

        Args:
            preconditioner: H: a learning rate, a vector `[d]`, or a symmetric positive definite `[d, d]`.
            batch_size: S, iid with replacement from these data.
            momentum: torch's m in [0, 1).
            injected: Q, the covariance of noise added to the velocity at each step `[d, d]`.

        Raises:
            ValueError: If the mean or the mean square of the iterates diverges, with its spectral radius and
                the edge of the stable rates; if d is above 64.
            TypeError, ValueError: If an argument is not as above.
        """
        H, S = check_preconditioner(preconditioner, self._A), check_count(batch_size, "batch_size")
        m, d = check_momentum(momentum), len(self._A)
        check_few(d)
        refuse_unstable(self._A, H, m)
        white = self._white
        H = white.spread(H)
        W = H @ white.noise(self._V) @ H / S
        if injected is not None:
            scale = float(white.back(W).detach().abs().max())
            W = W + white.spread(check_semidefinite(injected, "injected", size=d, scale=scale))
        basis = symmetric_basis(d, W)
        images = self._feedback(basis, H, S, m)
        rows, cols = torch.triu_indices(d, d, device=W.device)
        R = images[:, rows, cols].mT
        self._refuse_mean_square(R, H, S, m)
        first = self._solve(W, H, m)[rows, cols]
        eye = torch.eye(len(R), dtype=R.dtype, device=R.device)
        solution = torch.einsum("k,kij->ij", torch.linalg.solve(eye - R, first), basis)
        return narrow(white.back(solution), self.features.dtype, "the covariance")

    def forecast(
        self,
        *,
        preconditioner: float | int | Tensor,
        batch_size: int,
        injected: Float[Tensor, "d d"] | None = None,
        tolerance: float | int = 0.07,
        warn: bool = True,
    ) -> Forecast:
        """The standard deviations that constant SGD will have over the posterior's, with a warning if they will be off.

        Exact for the covariance; whether its error bars will hold is told by the tail index (`Forecast`).

        Args:
            preconditioner: H: a learning rate, a vector `[d]`, or a symmetric positive definite `[d, d]`.
            batch_size: S, iid with replacement from these data.
            injected: Q, the covariance of noise added at each step `[d, d]`.
            tolerance: How far from 1 a ratio may be before it warns.
            warn: Whether it warns; the forecast's `causes` say the same.

        Raises:
            TypeError, ValueError: If an argument is not as above, or d is above 64.

        >>> x, y = torch.tensor([[1.0], [1.0], [1.0], [3.0]]), torch.tensor([1.0, 0.0, -1.0, 0.0])
        >>> problem = LinearRegression(x, y)
        >>> told = problem.forecast(preconditioner=0.1, batch_size=1, tolerance=1.0)
        >>> told.ratios, round(told.radius, 2), told.row, round(told.leverage, 2)
        (tensor([0.3922]), 0.24, 3, 0.75)
        """
        H, S = check_preconditioner(preconditioner, self._A), check_count(batch_size, "batch_size")
        d, allowed = len(self._A), check_positive(tolerance, "tolerance")
        check_few(d)
        Q = torch.zeros_like(H)
        if injected is not None:
            Q = check_semidefinite(injected, "injected", size=d, scale=float((H @ self._V @ H).abs().max()))
        white = self._white
        C = white.noise(self._V) + self._excess(white.eye / self.num_data, self._z)
        law = Posterior(white, white.eye, C, self.num_data, lambda m: self._excess(m, self._z), self.leverage)
        found = foretell(law, H, Q, batch_size=S, tolerance=allowed, dtype=self.features.dtype)
        if warn:
            found.warn()
        return found

    def _solve(self, W: Tensor, H: Tensor, m: float) -> Tensor:
        noise = W if m == 0 else torch.cat([torch.cat([W, W], -1)] * 2, -2)
        d = len(self._A)
        theta = solved_discrete(transition(self._white.eye, H, m), noise)[..., :d, :d]
        return (theta + theta.mT) / 2

    def _feedback(self, sigma: Tensor, H: Tensor, S: int, m: float) -> Tensor:
        """Return R(Σ), equation (2), where A is the identity: the covariance that the noise caused by Σ causes."""
        return self._solve(H @ self._excess(sigma, self._z) @ H / S, H, m)

    def _refuse_mean_square(self, R: Tensor, H: Tensor, S: int, m: float) -> None:
        radius = radius_of(R)
        if radius < 1:
            return
        rows, cols = torch.triu_indices(len(H), len(H), device=R.device)
        basis = symmetric_basis(len(H), R)
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            trial = self._feedback(basis, middle * H.detach(), S, m)[:, rows, cols].mT
            low, high = (middle, high) if radius_of(trial) < 1 else (low, middle)
        row = int(self.leverage.argmax())
        raise ValueError(
            "preconditioner must keep the mean square of the iterates stable, got a spectral radius of "
            f"{radius:.4g} (at least 1) of the noise's feedback, with row {row} of leverage "
            f"{float(self.leverage[row]):.2f} in batches of {S}; stay below {rounded_down(low)} times this "
            "preconditioner"
        )
