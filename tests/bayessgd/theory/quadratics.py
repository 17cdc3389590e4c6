"""Truth for the theory: random quadratic problems, and constant SGD on them by brute force.

A covariance estimated from n independent Gaussian draws has E‖Σ̂ − Σ‖²_F = (‖Σ‖²_F + (Tr Σ)²)/n, so that its
relative error is `covariance_error`, at most √((1 + d)/n).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Quadratic:
    """A curvature and a gradient covariance that do not commute."""

    A: Tensor
    C: Tensor
    num_data: int = 1000
    batch_size: int = 20


def random_matrix(d: int, gen: torch.Generator, ridge: float = 0.1) -> Tensor:
    root = torch.randn(d, d, dtype=torch.float64, generator=gen)
    return root @ root.T / d + ridge * torch.eye(d, dtype=torch.float64)


def random_quadratic(
    d: int, gen: torch.Generator, *, num_data: int = 1000, batch_size: int = 20
) -> Quadratic:
    return Quadratic(random_matrix(d, gen), random_matrix(d, gen), num_data, batch_size)


def covariance_error(cov: Tensor, n: int) -> float:
    """The relative Frobenius error of a covariance estimated from n draws, root mean square."""
    return math.sqrt((1 + float(cov.trace() ** 2 / cov.square().sum())) / n)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def simulate(
    A: Tensor,
    C: Tensor,
    H: Tensor,
    *,
    batch_size: int,
    gen: torch.Generator,
    momentum: float = 0.0,
    injected: Tensor | None = None,
    chains: int = 40_000,
    steps: int = 0,
) -> Tensor:
    """Run torch's momentum SGD, buf ← m buf + g, θ ← θ − H buf, and return the second moment of θ.

    The gradient's noise is Gaussian: the stationary covariance depends on its second moment alone. From θ =
    0, for so many steps that what is left of the start, ρ^(2·steps), is below 1e-5.
    """
    d = len(A)
    root_noise = torch.linalg.cholesky(C / batch_size + 1e-300 * torch.eye(d, dtype=torch.float64))
    root_extra = None if injected is None else psd_root(injected)
    if not steps:
        modes = torch.linalg.eigvals(H @ A).real
        half = ((1 + momentum - modes) / 2).to(torch.complex128)
        spread = (half**2 - momentum).sqrt()
        radius = float(torch.stack([half + spread, half - spread]).abs().max())
        steps = math.ceil(math.log(1e-5) / (2 * math.log(radius)))
    theta = torch.zeros(chains, d, dtype=torch.float64)
    buf = torch.zeros_like(theta)
    inverse = torch.linalg.inv(H)
    for _ in range(steps):
        g = theta @ A + torch.randn(chains, d, dtype=torch.float64, generator=gen) @ root_noise.T
        if root_extra is not None:
            # Noise ξ in the velocity v = −H buf is −H⁻¹ξ in torch's buffer.
            xi = torch.randn(chains, d, dtype=torch.float64, generator=gen) @ root_extra.T
            g = g - xi @ inverse
        buf = momentum * buf + g
        theta = theta - buf @ H
    return theta.T @ theta / chains


def psd_root(Q: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(Q)
    return vectors * values.clamp(min=0).sqrt()


def kron_solution(F: Tensor, W: Tensor) -> Tensor:
    """Σ = FΣFᵀ + W by the d²×d² linear system: slow, and independent of doubling."""
    d = len(F)
    system = torch.eye(d * d, dtype=F.dtype) - torch.kron(F, F)
    return torch.linalg.solve(system, W.reshape(-1)).reshape(d, d)
