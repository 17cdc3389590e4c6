r"""Batch gradients whose noise vanishes at the optimum: the gradient there as control variate.

    ĝ(θ) = (1/S) Σ_{i∈B} [∇ℓᵢ(θ) − ∇ℓᵢ(θ̂)] + ∇L(θ̂)                                                     (1)

is as unbiased as the plain batch gradient, for any θ̂, and its noise is that of the change of the gradients between θ̂
and θ. At the optimum, under the posterior, that is of order 1/√N: its covariance per datum is of order p/N where the
plain one's is of order 1 (Baker, Fearnhead, Fox & Nemeth 2019, "Control variates for stochastic gradient MCMC",
Statistics and Computing 29, section 3). It depends on θ; what a sampler has to leave room for is its mean over the
posterior,

    C̃ = E_{θ ~ N(θ̂, RRᵀ)} Cov_i[∇ℓᵢ(θ) − ∇ℓᵢ(θ̂)],      RRᵀ = (NA)⁻¹,                                    (2)

and a linear model with this C̃ in Q = (2H − HAH)/N − HC̃H/S has the posterior's covariance exactly. The floor of a pass
per draw that plain batches have (whose noise *is* the draw, and is bought with data) is gone: with S of some p the step
can be of the order of the posterior's width, and a draw costs some 2S gradients, whatever N.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import grad

from bayessgd._data import check_data
from bayessgd.noise.per_example import Loss, check_deterministic, per_example_gradients, trainable
from bayessgd.params import flatten, unflatten, unwrap
from metrics.inputs import check_count, check_tensor
from metrics.precision import full_precision

__all__ = ["control_variate", "control_variate_noise"]

JointLoss = Callable[[nn.Module, Mapping[str, Tensor], Tensor, Tensor], Tensor]
"""From model, parameters by name, x and y to a mean loss, such as `mean_negative_log_joint` with its laws filled in."""
CHUNK = 2**14
"""Data at once, where all are passed."""


@full_precision
def control_variate(
    loss: JointLoss,
    model: nn.Module,
    x: Shaped[Tensor, "n ..."],
    y: Shaped[Tensor, "n ..."],
    *,
    anchor: Mapping[str, Tensor] | None = None,
    chunk_size: int | None = None,
) -> JointLoss:
    """Return a loss of batches whose gradient is ĝ of equation (1): L_B(θ) − [∇L_B(θ̂) − ∇L(θ̂)]·θ.

    Its value is no loss, its gradient costs two for every datum; any optimizer or sampler takes it, `Chains.map` too.
    One pass over all the data for ∇L(θ̂) is made here, so that ĝ is unbiased at any anchor. It saves noise where the
    anchor is within some widths of the posterior; far away it adds it.

    Args:
        loss: A *mean* over data, plus terms that no datum owns, such as a prior's: `partial(mean_negative_log_joint,
            likelihood=…, prior=…, num_data=N)`.
        model: A plain network without dropout or batch statistics; it is not changed.
        x: All the inputs `[n, ...]`.
        y: All the targets `[n, ...]`.
        anchor: θ̂ by name, such as `bayessgd.optimum(…).params`; `None` is where the model stands.
        chunk_size: Data at once; `None` for 16 384.

    Raises:
        TypeError, ValueError: If an argument is not as above; a gradient that is not finite.

    Reference: Baker, Fearnhead, Fox & Nemeth 2019, section 3.1.

    >>> def square(model, params, x, y):
    ...     return 0.5 * (params["weight"] * x - y).square().mean()
    >>> line, x = nn.Linear(1, 1, bias=False), torch.tensor([[1.0], [3.0]])
    >>> at = {"weight": torch.ones(1, 1)}
    >>> calm = control_variate(square, line, x, x, anchor=at)  # ∇ℓᵢ(θ) = xᵢ²(θ − 1)
    >>> [grad(lambda p: calm(line, p, row[None], row[None]))(at)["weight"].item() for row in x]
    [0.0, 0.0]
    """
    check_deterministic(model)
    check_data(x, y)
    network, known = unwrap(model), trainable(model, anchor)
    chunk = CHUNK if chunk_size is None else check_count(chunk_size, "chunk_size")
    whole = {name: torch.zeros_like(value) for name, value in known.items()}
    for start in range(0, len(x), chunk):
        xs, ys = x[start : start + chunk], y[start : start + chunk]
        part = grad(lambda theta, xs=xs, ys=ys: loss(network, theta, xs, ys))(known)
        whole = {name: total + len(xs) / len(x) * part[name] for name, total in whole.items()}
    if not all(bool(t.isfinite().all()) for t in whole.values()):
        raise ValueError(
            "anchor must have a finite gradient, got NaN or infinity; start from an optimum of the loss"
        )

    def anchored(model: nn.Module, params: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        there = grad(lambda theta: loss(model, theta, x, y))(known)
        linear = [((there[name] - whole[name]) * params[name]).sum() for name in known]
        return loss(model, params, x, y) - torch.stack(linear).sum()

    return anchored


@full_precision
def control_variate_noise(
    model: nn.Module,
    loss: Loss,
    x: Shaped[Tensor, "n ..."],
    y: Shaped[Tensor, "n ..."],
    *,
    root: Float[Tensor, "p p"],
    anchor: Mapping[str, Tensor] | None = None,
    chunk_size: int | None = None,
) -> Float[Tensor, "p p"]:
    """C̃ of equation (2), `[p, p]`, by the cubature points θ̂ + √p·R·eⱼ; p + 1 passes.

    Exact where ∇ℓᵢ is linear in θ (linear regression); elsewhere the terms of second and higher order are left out.
    Not a few random draws in place of the points: where few data of high leverage make the largest eigenvalue, that
    would be off by half.

    Args:
        model: A plain network, in eval mode; it is not changed.
        loss: `loss(output, target)` of a batch of one, as `gradient_noise` takes it.
        x: All the inputs `[n, ...]`.
        y: All the targets `[n, ...]`.
        root: R, with RRᵀ the covariance to average over, such as `bayessgd.optimum(…).root`; flat in the order of
            `model.named_parameters()`.
        anchor: θ̂ by name; `None` is where the model stands.
        chunk_size: Data at once; `None` for 16 384.

    Raises:
        TypeError, ValueError: If an argument is not as above.

    >>> line, x = nn.Linear(1, 1, bias=False), torch.tensor([[1.0], [2.0]])
    >>> half = lambda output, target: 0.5 * (output - target).square().sum()
    >>> control_variate_noise(line, half, x, x, root=0.1 * torch.eye(1))  # 0.01 · Var(x²)
    tensor([[0.0225]])
    """
    check_deterministic(model)
    check_data(x, y)
    known = trainable(model, anchor)
    centre, p = flatten(known), sum(t.numel() for t in known.values())
    R = check_tensor(root, "root", shape=f"[{p}, {p}]", ndim=2)
    if R.shape != (p, p):
        raise ValueError(f"root must have shape [{p}, {p}], got {list(R.shape)}; one row per parameter")
    chunk = CHUNK if chunk_size is None else check_count(chunk_size, "chunk_size")
    points = centre + p**0.5 * R.mT
    sums = torch.zeros(p, p, dtype=torch.float64, device=centre.device)
    squares = torch.zeros(p, p, dtype=torch.float64, device=centre.device)
    for start in range(0, len(x), chunk):
        xs, ys = x[start : start + chunk], y[start : start + chunk]
        there = flatten(per_example_gradients(model, loss, xs, ys, params=known), known)
        for j, point in enumerate(points):
            here = flatten(per_example_gradients(model, loss, xs, ys, params=unflatten(point, known)), known)
            away = (here - there).double()
            sums[j] += away.sum(0)
            squares += away.mT @ away
    mean = sums / len(x)
    return ((squares / len(x) - mean.mT @ mean) / p).to(centre.dtype)
