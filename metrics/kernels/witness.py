"""The witness function of the maximum mean discrepancy: where two clouds differ (Gretton et al. 2012, section 2.3).

    f(t) = (1/n) Σ_i k(x_i, t) − (1/m) Σ_j k(y_j, t),

the difference of the two mean embeddings, read at a point t. It is, up to its norm, the function of the unit ball of
the kernel's space that tells the two clouds apart best, and

    (1/n) Σ_i f(x_i) − (1/m) Σ_j f(y_j) = MMD²,

the V-statistic. Positive where x is denser than y at the kernel's scale, negative where y is, and near 0 both where
they agree and where neither has points.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.distances import distances
from metrics.inputs import check_alike, check_cloud, check_pair
from metrics.kernels.gram import gram_of
from metrics.kernels.kernel import Kernel, check_kernel, median_kernel
from metrics.precision import full_precision

__all__ = ["mmd_witness"]


@full_precision
def mmd_witness(
    points: Float[Tensor, "p d"],
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    kernel: Kernel | None = None,
) -> Float[Tensor, " p"]:
    """Return the witness function (1/n) Σ_i k(x_i, t) − (1/m) Σ_j k(y_j, t) at some points t.

    Args:
        points: Where to read it, [p, d].
        x: Samples, [n, d]; the witness is positive where they outweigh y.
        y: Samples, [m, d].
        kernel: A callable from two clouds to their Gram matrix, as in `mmd2`; `None` is the same kernel as there for
            x and y, held constant in the gradient.

    Returns:
        [p] in the kernel's units, in the type of the clouds, differentiable in all three. For a fixed kernel it is an
        unbiased estimate of the two distributions' own witness at every point that is no sample. Memory is O(p(n + m)).

    Raises:
        ValueError: Clouds that cannot be compared, or a single sample.

    >>> x, y = torch.tensor([[0.0], [0.0]]), torch.tensor([[2.0], [2.0]])
    >>> mmd_witness(torch.tensor([[0.0], [1.0], [2.0]]), x, y)  # odd around the middle
    tensor([ 2.4061,  0.0000, -2.4061])
    """
    check_pair(x, y, least=2)
    if check_cloud(points, "points").shape[1] != x.shape[1]:
        raise ValueError(
            f"points must have {x.shape[1]} columns as the clouds, got {points.shape[1]}; read it in their space"
        )
    check_alike(points, x, ("points", "x"))
    t, a, b = points.double(), x.double(), y.double()
    if kernel is None:
        with torch.no_grad():
            kernel = median_kernel(distances(a, a), distances(a, b), distances(b, b))
    check_kernel(kernel)
    return (gram_of(kernel, a, t).mean(0) - gram_of(kernel, b, t).mean(0)).to(x.dtype)
