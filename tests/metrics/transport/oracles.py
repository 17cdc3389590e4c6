"""The simplest correct forms, in float64: what the fast ones are tested against."""

import math

import torch
from torch import Tensor


def uniform(n: int) -> Tensor:
    return torch.full((n,), 1 / n, dtype=torch.float64)


def log_domain_sinkhorn(
    cost: Tensor, a: Tensor, b: Tensor, eps: float, *, tol: float = 1e-12
) -> tuple[float, Tensor, Tensor, Tensor]:
    """Sinkhorn's iteration as it is written down, with a falling ε: dual value, plan, f, g (units of the cost)."""
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    at = max(eps, float(cost.max()))
    while True:
        at = max(eps, at / 2)
        for _ in range(20_000 if at == eps else 5):
            f = -at * torch.logsumexp((g - cost) / at + b.log(), 1)
            plan = ((f[:, None] + g - cost) / at).exp() * a[:, None] * b
            if at == eps and float((plan.sum(0) - b).abs().sum()) < tol:
                return float(f @ a + g @ b), plan, f, g
            g = -at * torch.logsumexp((f[:, None] - cost).T / at + a.log(), 1)
        assert at > eps, "the oracle has not converged: choose a kinder problem"


def log_domain_symmetric(
    cost: Tensor, a: Tensor, eps: float, *, tol: float = 1e-12
) -> tuple[float, Tensor, Tensor]:
    """The averaged iteration f ← ½(f + Tf) for a cloud and itself: dual value, plan, f (units of the cost)."""
    f = torch.zeros_like(a)
    for _ in range(1000):
        target = -eps * torch.logsumexp((f - cost) / eps + a.log(), 1)
        plan = ((f[:, None] + f - cost) / eps).exp() * a[:, None] * a
        if float((plan.sum(1) - a).abs().sum()) < tol:
            return float(f @ a) * 2 - eps * (float(plan.sum()) - 1), plan, f
        f = (f + target) / 2
    raise AssertionError("the oracle has not converged: choose a kinder problem")


def divergence(x: Tensor, y: Tensor, a: Tensor, b: Tensor, eps: float, p: float) -> float:
    between = log_domain_sinkhorn(torch.cdist(x, y) ** p, a, b, eps)[0]
    within = [log_domain_symmetric(torch.cdist(z, z) ** p, w, eps)[0] for z, w in ((x, a), (y, b))]
    return between - sum(within) / 2


def gaussian_on_a_grid(
    mean: float, std: float, points: int = 241, width: float = 8.0
) -> tuple[Tensor, Tensor]:
    """Positions [n, 1] and weights of N(mean, std²): the trapezoidal rule, exact to e^{−width²/2} and far beyond."""
    z = torch.linspace(-width, width, points, dtype=torch.float64)
    weights = (-z.square() / 2).exp()
    return (mean + std * z)[:, None], weights / weights.sum()


def entropic_gaussians(mean_gap: float, std_x: float, std_y: float, eps: float) -> float:
    """OT_ε of two Gaussians on the line, cost |x − y|², penalty ε·KL(P ‖ a⊗b).

    The plan is Gaussian with a covariance c, and with α, β the standard deviations
    OT_ε = gap² + α² + β² − 2c − (ε/2) log(1 − c²/(αβ)²), least at c = (√(ε² + 16α²β²) − ε)/4: Janati et al. 2020,
    theorem 1, in one dimension.
    """
    product = std_x * std_y
    c = (math.sqrt(eps**2 + 16 * product**2) - eps) / 4
    return mean_gap**2 + std_x**2 + std_y**2 - 2 * c - eps / 2 * math.log1p(-((c / product) ** 2))
