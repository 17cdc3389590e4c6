"""What the transport benchmark solves, and by whom: Sinkhorn divergences with their gradient for x."""

import math
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from workers import Worker

from metrics.transport import sinkhorn_divergence

__all__ = ["CONTENDERS", "ONLINE", "Solver", "clouds", "installed", "problem", "with_gradient"]

Solver = Callable[[Tensor, Tensor, float], tuple[float, Tensor]]


def clouds(n: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two Gaussians with standard deviations from ½ to 1½, in opposite order, a little apart."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.5, 1.5, d)
    x, y = (torch.randn(n, d, generator=generator) for _ in range(2))
    return scale * x, scale.flip(0) * y + 0.5 / math.sqrt(d)


def problem(n: int, d: int, relative: float) -> tuple[Tensor, Tensor, float]:
    x, y = clouds(n, d)
    mean_cost = (x.double() - y.double().mean(0)).square().sum(1).mean() + y.double().var(
        0, correction=0
    ).sum()
    return x, y, relative * float(mean_cost)


def with_gradient(function: Callable[[Tensor, Tensor, float], Tensor]) -> Solver:
    def solver(x: Tensor, y: Tensor, eps: float) -> tuple[float, Tensor]:
        x = x.detach().requires_grad_()
        value = function(x, y, eps)
        (gradient,) = torch.autograd.grad(value, x)
        return float(value.detach()), gradient

    return solver


def ours() -> Solver:
    return with_gradient(lambda x, y, eps: sinkhorn_divergence(x, y, eps=eps))


def ott() -> Solver:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from ott.tools import sinkhorn_divergence as module

    def divergence(x: object, y: object, eps: object) -> object:
        return module.sinkdiv(x, y, epsilon=eps, solve_kwargs={"threshold": 1e-3})[0]

    compiled = jax.jit(jax.value_and_grad(divergence))

    def solver(x: Tensor, y: Tensor, eps: float) -> tuple[float, Tensor]:
        value, gradient = compiled(jnp.asarray(x.numpy()), jnp.asarray(y.numpy()), eps)
        return float(value), torch.from_numpy(np.array(gradient))

    return solver


def geomloss(scaling: float, backend: str = "tensorized") -> Solver:
    from geomloss import SamplesLoss

    def divergence(x: Tensor, y: Tensor, eps: float) -> Tensor:
        # Its cost is ½‖x − y‖², and its ε the square of the blur.
        loss = SamplesLoss("sinkhorn", p=2, blur=(eps / 2) ** 0.5, scaling=scaling, backend=backend)
        return 2 * loss(x, y)

    return with_gradient(divergence)


def pot() -> Solver:
    import ot

    def divergence(x: Tensor, y: Tensor, eps: float) -> Tensor:
        def cost(u: Tensor, v: Tensor) -> Tensor:
            m = torch.cdist(u, v).square()
            return ot.solve(m, reg=eps, reg_type="KL", grad="envelope", max_iter=2000, tol=1e-4).value

        return cost(x, y) - cost(x, x) / 2 - cost(y, y) / 2

    return with_gradient(divergence)


CONTENDERS: dict[str, Callable[[], Solver]] = {
    "ours": ours,
    "OTT-JAX (1e-3)": ott,
    "geomloss .9": partial(geomloss, 0.9),
    "geomloss .5": partial(geomloss, 0.5),
    "POT `ot.solve`": pot,
}

ONLINE = partial(geomloss, 0.5, "online")
"""geomloss' own form for problems whose matrix does not fit, by KeOps."""


def installed() -> dict[str, Worker]:
    """A process for each contender whose library is here."""
    found = {}
    for name, make in CONTENDERS.items():
        try:
            found[name] = Worker(make)
        except ImportError:
            print(f"{name} is not installed", file=sys.stderr)
    return found
