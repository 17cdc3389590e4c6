r"""The posterior within a span, from the curvature there.

With the columns of V [P, K], the rows of `Span.basis`, an orthonormal basis of a span of the iterates of P weights and
m their mean, the Gauss–Newton approximation of U's Hessian within the span is

    A = VᵀΛV + (N/n)·Σᵢ (Jᵢ V)ᵀ Hᵢ (Jᵢ V),

Jᵢ the Jacobian of the outputs at xᵢ, Hᵢ the Hessian of −log p(yᵢ | f) in the outputs and Λ that of −log p(θ). It costs
K Jacobian-vector products a batch and no P × P matrix. The posterior there is N(0, A⁻¹), so that

    Σ = V A⁻¹ Vᵀ + s·diag(v ⊙ (1 − h)),   h_i = Σ_k V_ik²,

where shape and width of the first part come from data and prior, and what lies outside the span keeps the variance
s·v that the iterates had, never more: h_i is the share of a weight's own direction that the span holds already (0 where
the span misses it, 1 where the span is everything). Eigenvalues of the likelihood's part below 0, of a likelihood that
is not log-concave in its outputs, count as 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from bayessgd._inputs import Targets, rows, wide
from bayessgd.calibration.problem import Problem
from bayessgd.calibration.span import Span
from bayessgd.likelihoods import Likelihood
from bayessgd.params import flat_rows
from bayessgd.posteriors import LowRankGaussian
from bayessgd.priors import Prior
from bayessgd.tangents import tangents

__all__ = ["Curvature", "curvature_in_span", "gaussian_in_span"]

BUDGET = 2**24
"""Numbers that the tangents of one batch may have: 64 MiB of float32."""

FLOOR = 1e-7
"""The least share of a weight's variance that its diagonal keeps, so that there is a density."""


@dataclass(frozen=True)
class Curvature:
    """Within a span: eigenvalues λ of A in descending order, [K], and what was measured with them.

    Attributes:
        values: λ, float64, nats per squared unit of the weights; 1/λ is the posterior's variance.
        span: The eigenvectors' directions, in the same order.
        log_error: One standard error of the mean of log λ, of the choice of n data among N; 0 where all were seen.
    """

    values: Tensor
    span: Span
    log_error: float


def curvature_in_span(problem: Problem, mean: Mapping[str, Tensor], span: Span) -> Curvature:
    """Return the eigenvalues and eigenvectors of A, equation of this module, summed in float64."""
    batches, sizes, start = [], [], 0
    # A tenth of the data at most, so that the batches tell how far they scatter.
    most = min(128, -(-problem.size // 10))
    size = min(16, most)
    while start < problem.size:
        some = slice(start, start + size)
        output, pushed = tangents(
            problem.model,
            mean,
            span.basis,
            rows(problem.x, some),
            refresh_batchnorm=problem.refresh,
            output=problem.output,
        )
        batches.append(_of_batch(wide(output), wide(pushed), rows(problem.y, some), problem.likelihood))
        sizes.append(len(output))
        start += size
        size = max(1, min(most, BUDGET // max(1, pushed[:, 0].numel())))
    data = torch.stack(batches).sum(0) * (problem.num_data / problem.size)
    values, vectors = torch.linalg.eigh((data + data.T) / 2)
    data = (vectors * values.clamp(min=0)) @ vectors.T
    total = data + _of_prior(mean, span, problem.prior).to(data)
    values, vectors = torch.linalg.eigh((total + total.T) / 2)
    values, vectors = values.flip(0), vectors.flip(1)
    error = _log_error(torch.stack(batches), torch.tensor(sizes), total, problem.num_data)
    return Curvature(values, span.rotated(vectors.T), error)


def gaussian_in_span(
    posterior: LowRankGaussian, curvature: Curvature, kept: int, *, factor: float = 1.0
) -> LowRankGaussian:
    """Return N(m, factor·V A⁻¹Vᵀ + outside) of the first `kept` directions, those of the largest λ."""
    values = curvature.values[:kept]
    basis = {name: v[:kept] for name, v in curvature.span.basis.items()}
    rank = max(kept, 2)
    widths = (factor * (rank - 1) / values).sqrt()
    rest, columns = {}, {}
    for name, mean in posterior.mean.items():
        column = basis[name] * widths.to(mean).reshape(-1, *[1] * mean.ndim)
        held = basis[name].double().square().sum(0)
        inside = column.double().square().sum(0) / (rank - 1)
        own = posterior.scale * posterior.variance[name].double()
        outside = own * (1 - held).clamp(min=0)
        rest[name] = torch.maximum(outside, FLOOR * inside).to(mean)
        columns[name] = torch.cat([column, torch.zeros_like(column[: rank - kept])])
    return LowRankGaussian(posterior.mean, rest, columns if kept else None)


def _of_batch(output: Tensor, pushed: Tensor, y: Targets, likelihood: Likelihood) -> Tensor:
    """Return Σᵢ (JᵢV)ᵀHᵢ(JᵢV), [K, K]: the Hessian of Σ −log p in the outputs, by forward over reverse."""

    def loss(out: Tensor) -> Tensor:
        return -likelihood.log_prob(out, y).sum()

    curved = vmap(lambda v: jvp(grad(loss), (output,), (v,))[1])(pushed)
    return pushed.flatten(1).double() @ curved.flatten(1).double().T


def _of_prior(mean: Mapping[str, Tensor], span: Span, prior: Prior) -> Tensor:
    """Return VᵀΛV, the Hessian of −log p(θ) within the span; negative eigenvalues are left for the sum to outweigh."""
    theta = {name: t.double() for name, t in mean.items()}
    slope = grad(lambda t: -prior.log_prob(t))
    found = []
    for k in range(len(span)):
        v = {name: b[k].double() for name, b in span.basis.items()}
        curved = jvp(slope, (theta,), (v,))[1]
        assert isinstance(curved, dict)
        found.append(sum(flat_rows(b.double()) @ curved[name].flatten() for name, b in span.basis.items()))
    return torch.stack([torch.as_tensor(row) for row in found])


def _log_error(batches: Tensor, sizes: Tensor, total: Tensor, num_data: int) -> float:
    """Return the standard error of mean log λ: d log det A = Tr(A⁻¹ dA), over batches of data drawn without return."""
    seen = int(sizes.sum())
    if seen >= num_data or len(sizes) < 3 or bool((torch.linalg.eigvalsh(total) <= 0).any()):
        return 0.0 if seen >= num_data else math.nan
    inverse = torch.linalg.inv(total)
    traces = num_data * torch.einsum("bij,ji->b", batches, inverse) / sizes.to(inverse)
    weights = sizes.to(inverse) / seen
    spread = (weights * (traces - (weights * traces).sum()).square()).sum() / (len(sizes) - 1)
    return math.sqrt(float(spread) * (1 - seen / num_data)) / len(total)
