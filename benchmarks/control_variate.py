r"""Batch gradients whose noise vanishes at the optimum.

    ĝ(θ) = (1/S) Σ_{i∈B} [∇ℓᵢ(θ) − ∇ℓᵢ(θ*)] + ∇L(θ*),      ∇L(θ*) = 0,

is as unbiased as the plain one, and its noise is that of the change of the gradients between θ* and θ, of order 1/√N
under the posterior: its covariance per datum is of order p/N where the plain one's is of order 1 (Baker, Fearnhead, Fox
& Nemeth 2019, "Control variates for stochastic gradient MCMC", Statistics and Computing 29). It depends on θ; what a
sampler has to leave room for is its mean over the posterior,

    C̃ = E_{θ ~ N(θ*, (NA)⁻¹)} Cov_i[∇ℓᵢ(θ) − ∇ℓᵢ(θ*)],

and a linear model with this C̃ in Q = (2H − HAH)/N − HC̃H/S has the posterior's covariance exactly. The floor of a pass
per draw that plain batches have (whose noise *is* the draw, and is bought with data) is gone: with S of some p the step
can be of the order of the posterior's width, and a draw costs some 2S gradients, whatever N.
"""

import torch
from sampling import Loss, Optimum
from torch import Tensor, nn
from torch.func import grad

from bayessgd import noise
from bayessgd.params import flatten, unflatten

__all__ = ["anchored", "anchored_noise"]


def anchored(at: Optimum) -> Loss:
    """Return L(θ) − ∇L_B(θ*)·θ of a batch B, whose gradient is ĝ: two gradients for every datum."""
    loss, anchor = at.problem.loss, at.problem.like

    def value(model: nn.Module, params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        known = grad(lambda theta: loss(model, theta, x, y))(anchor)
        linear = torch.stack([(known[name] * params[name]).sum() for name in anchor]).sum()
        return loss(model, params, x, y) - linear

    return value


def anchored_noise(at: Optimum) -> Tensor:
    """Return C̃ by the cubature points θ* + √p·R·eⱼ: exact where ∇ℓᵢ is linear in θ; p + 1 passes.

    Not a few draws in place of the points: where few data of high leverage make the largest eigenvalue, as on Protein,
    it would be off by half.
    """
    problem, like = at.problem, at.problem.like
    size = len(at.A)

    def gradients(theta: dict[str, Tensor]) -> Tensor:
        data = (problem.x, problem.y)
        return flatten(noise.per_example_gradients(problem.model, problem.datum, *data, params=theta), like)

    anchor, centre = gradients(like), flatten(like)
    points = centre + size**0.5 * at.root.mT
    return torch.stack(
        [torch.cov((gradients(unflatten(point, like)) - anchor).mT, correction=0) for point in points]
    ).mean(0)
