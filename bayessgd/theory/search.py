r"""The closest learning rate and the closest diagonal, found by minimising the divergence itself.

Both minimise KL(N(θ*, Σ(h)) ‖ posterior) over h > 0, where Σ(h) solves the discrete-time Lyapunov equation
of constant SGD: a line search in log ε for one rate, L-BFGS-B (Byrd et al. 1995) in log h for d of them,
with gradients through the equation. The divergence grows without bound at the edge of stability and as h →
0, so the minimum lies inside. L-BFGS starts from the best single rate, and from the diagonal of the exact
preconditioner; what it returns is the best point that it saw, hence never worse than the single rate.
"""

import math

import numpy as np
import torch
from torch import Tensor

from bayessgd.theory._matrices import smallest_scaled
from bayessgd.theory.divergence import gaussian_kl
from bayessgd.theory.stationary import discrete_covariance, rates

__all__ = ["best_diagonal", "best_rate"]

# What an infinite divergence is told as: searches need a finite value to step back from.
WALL = 1e10


def _divergence(diagonal: Tensor, A: Tensor, C: Tensor, n: float | int, s: int, m: float) -> Tensor:
    """Return the divergence of SGD with a diagonal preconditioner, infinite where it is unstable."""
    H = torch.diag(diagonal)
    if float(rates(A, H)[-1]) >= 2 * (1 + m) * (1 - 1e-9):
        return torch.tensor(torch.inf, dtype=A.dtype)
    return gaussian_kl(discrete_covariance(A, H, H @ C @ H / s, m), A, n)


def best_rate(
    A: Tensor, C: Tensor, *, num_data: float | int, batch_size: int, momentum: float | int
) -> float:
    """Return the learning rate whose exact stationary law is closest to the posterior.

    The search is over log ε, from 10⁻⁴ of the continuous-time optimum up to the stable limit.

    >>> one = torch.ones(1, 1, dtype=torch.float64)
    >>> round(best_rate(one, one, num_data=90, batch_size=10, momentum=0.0), 6)  # 2 / (a + N c / S)
    0.2
    """
    ones = torch.ones(len(A), dtype=A.dtype, device=A.device)

    def value(log_rate: float) -> float:
        found = float(_divergence(math.exp(log_rate) * ones, A, C, num_data, batch_size, momentum))
        return min(found, WALL)

    trace = float(C.trace())
    if trace <= 0:
        raise ValueError(f"C must have a positive trace, got {trace:.3g}; without noise no rate is best")
    limit = 2 * (1 + momentum) / float(torch.linalg.eigvalsh(A)[-1])
    guess = min(2 * (1 - momentum) * batch_size / num_data * len(A) / trace, limit / 2)
    _refuse_singular(A, C, guess, momentum)
    grid = np.linspace(math.log(guess / 1e4), math.log(limit) - 1e-6, 16)
    coarse = min(range(16), key=lambda i: value(grid[i]))
    bounds = (grid[max(coarse - 1, 0)], grid[min(coarse + 1, 15)])
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(value, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    finer = float(found.x)  # pyright: ignore[reportAttributeAccessIssue]
    return math.exp(min([finer, grid[coarse]], key=value))


def _refuse_singular(A: Tensor, C: Tensor, rate: float, momentum: float) -> None:
    """Refuse noise that never reaches some direction, where the divergence is infinite at every rate."""
    H = rate * torch.eye(len(A), dtype=A.dtype, device=A.device)
    if smallest_scaled(discrete_covariance(A, H, H @ C @ H, momentum)) <= len(A) * torch.finfo(A.dtype).eps:
        raise ValueError(
            "C must reach every direction, got noise that leaves some without variance, infinitely far from the "
            "posterior at every rate; inject noise (injected_noise) or drop those directions"
        )


def best_diagonal(
    A: Tensor, C: Tensor, *, num_data: float | int, batch_size: int, momentum: float | int
) -> Tensor:
    """Return the diagonal preconditioner `[d]` whose exact stationary law is closest to the posterior.

    >>> A = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    >>> C = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))
    >>> best_diagonal(A, C, num_data=90, batch_size=10, momentum=0.0)
    tensor([0.1787, 0.0532], dtype=torch.float64)
    """
    best_value, best_log = math.inf, torch.zeros(len(A), dtype=A.dtype)

    def objective(log_h: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best_value, best_log
        point = torch.as_tensor(log_h, dtype=A.dtype, device=A.device).requires_grad_()
        value = _divergence(point.exp(), A, C, num_data, batch_size, momentum)
        if not value.requires_grad or not math.isfinite(float(value.detach())):
            return WALL, np.ones(len(A))
        (slope,) = torch.autograd.grad(value, point)
        height = float(value.detach())
        if height < best_value:
            best_value, best_log = height, point.detach()
        return height, slope.cpu().numpy()

    rate = best_rate(A, C, num_data=num_data, batch_size=batch_size, momentum=momentum)
    modes = (1 - momentum) / (1 + momentum) * A.diagonal() + num_data / batch_size * C.diagonal()
    single = torch.full_like(modes, math.log(rate))
    from scipy.optimize import minimize

    for start in (single, (2 * (1 - momentum) / modes).log()):
        options = {"maxiter": 500, "ftol": 1e-15, "gtol": 1e-9}
        minimize(objective, start.cpu().numpy(), jac=True, method="L-BFGS-B", options=options)
    return best_log.exp()
