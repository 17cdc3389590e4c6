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
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._matrices import check_momentum, check_preconditioner, check_semidefinite
from bayessgd.theory.lyapunov import discrete_lyapunov
from bayessgd.theory.stationary import refuse_unstable, transition
from metrics.inputs import check_cloud, check_count, check_positive, check_tensor

__all__ = ["LinearRegression"]

# d(d+1)/2 = 2080 equations, and as many Lyapunov equations for the matrix.
LARGEST = 64


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
        if not float(torch.linalg.eigvalsh(self._A.detach())[0]) > 1e-13 * float(
            self._A.detach().abs().max()
        ):
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
        return torch.linalg.solve(self._A, mean)

    @cached_property
    def _V(self) -> Tensor:
        residual = self._x @ self._optimum - self.targets.double()
        gradients = self.noise_precision * residual[:, None] * self._x
        centred = gradients - gradients.mean(0)
        return centred.mT @ centred / self.num_data

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

    def noise(self, cov: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
        """C(Σ) `[d, d]`, equation (1): the mean covariance of one datum's gradient when θ has covariance Σ.

        >>> problem = LinearRegression(torch.tensor([[1.0], [-1.0]]), torch.tensor([1.0, 1.0]))
        >>> problem.noise(torch.tensor([[2.0]]))  # all H_i are equal, so that it is V
        tensor([[1.]])
        """
        sigma = check_semidefinite(cov, "cov", size=self.features.shape[1])
        return (self._V + self._excess(sigma)).to(cov.dtype)

    def _excess(self, sigma: Tensor) -> Tensor:
        """Return E[H_i Σ H_i] − A Σ A for any number of matrices, by which C(Σ) exceeds V.

        The ridge's constant part of H_i drops out of this covariance, like any other constant.
        """
        x, beta = self._x, self.noise_precision
        gram = beta * x.mT @ x / self.num_data
        weights = torch.einsum("ni,...ij,nj->...n", x, sigma, x)
        fourth = beta**2 * torch.einsum("ni,...n,nj->...ij", x, weights, x) / self.num_data
        return fourth - gram @ sigma @ gram

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
                the largest stable rate; if d is above 64.
            TypeError, ValueError: If an argument is not as above.
        """
        H, S = check_preconditioner(preconditioner, self._A), check_count(batch_size, "batch_size")
        m, d = check_momentum(momentum), len(self._A)
        if d > LARGEST:
            raise ValueError(f"features must have at most {LARGEST} columns for a dense solution, got {d}")
        W = H @ self._V @ H / S
        if injected is not None:
            W = W + check_semidefinite(injected, "injected", size=d, scale=float(W.detach().abs().max()))
        refuse_unstable(self._A, H, m)
        basis = _symmetric_basis(d, W)
        images = self._feedback(basis, H, S, m)
        rows, cols = torch.triu_indices(d, d, device=W.device)
        R = images[:, rows, cols].mT
        self._refuse_mean_square(R, H, S, m)
        first = self._solve(W, H, m)[rows, cols]
        eye = torch.eye(len(R), dtype=R.dtype, device=R.device)
        solution = torch.einsum("k,kij->ij", torch.linalg.solve(eye - R, first), basis)
        return solution.to(self.features.dtype)

    def _solve(self, W: Tensor, H: Tensor, m: float) -> Tensor:
        noise = W if m == 0 else torch.cat([torch.cat([W, W], -1)] * 2, -2)
        d = len(self._A)
        theta = discrete_lyapunov(transition(self._A, H, m), noise)[..., :d, :d]
        return (theta + theta.mT) / 2

    def _feedback(self, sigma: Tensor, H: Tensor, S: int, m: float) -> Tensor:
        """Return R(Σ), equation (2): the covariance that the noise caused by Σ causes."""
        return self._solve(H @ self._excess(sigma) @ H / S, H, m)

    def _refuse_mean_square(self, R: Tensor, H: Tensor, S: int, m: float) -> None:
        radius = _radius(R)
        if radius < 1:
            return
        rows, cols = torch.triu_indices(len(H), len(H), device=R.device)
        basis = _symmetric_basis(len(H), R)
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            trial = self._feedback(basis, middle * H.detach(), S, m)[:, rows, cols].mT
            low, high = (middle, high) if _radius(trial) < 1 else (low, middle)
        raise ValueError(
            "preconditioner must keep the mean square of the iterates stable, got a spectral radius of "
            f"{radius:.4g} (at least 1) of the noise's feedback; the largest stable rate is {low:.4g} times "
            "this preconditioner"
        )


def _radius(R: Tensor) -> float:
    return float(torch.linalg.eigvals(R.detach()).abs().max())


def _symmetric_basis(d: int, like: Tensor) -> Tensor:
    """Return the d(d+1)/2 matrices whose entry (i, j) and (j, i) is one."""
    rows, cols = torch.triu_indices(d, d, device=like.device)
    basis = torch.zeros(len(rows), d, d, dtype=like.dtype, device=like.device)
    index = torch.arange(len(rows), device=like.device)
    basis[index, rows, cols] = 1
    basis[index, cols, rows] = 1
    return basis
