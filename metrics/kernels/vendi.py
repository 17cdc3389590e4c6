"""The Vendi score: the effective number of different points in a cloud (Friedman & Dieng 2023).

With a similarity k, k(x, x) = 1, and the eigenvalues λ_i of K/n, which sum to one,

    VS = exp(−Σ λ_i ln λ_i),

the exponential of their entropy: 1 if all points are alike, n if none has anything in common with another,
and G for G groups of equal size with similarity 1 within and 0 between. It looks at one cloud only and so
says nothing about fidelity: read it beside the score of the reference under the same kernel. A kernel that
is fitted to the samples themselves would undo a collapse of scale, so the kernel is the caller's: for
instance `Gaussian(median_heuristic(reference))`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_cloud
from metrics.kernels.kernel import Kernel, check_kernel
from metrics.precision import full_precision

__all__ = ["vendi_score"]


@full_precision
def vendi_score(x: Float[Tensor, "n d"], *, kernel: Kernel) -> Float[Tensor, ""]:
    """Return the effective number of different points, exp of the entropy of the eigenvalues of K/n.

    Args:
        x: Samples, [n, d]; the cost is O(n³).
        kernel: A positive definite kernel, such as those in `metrics.kernels`; divided by √(k(x,x)·k(y,y)),
            so that every point has similarity 1 with itself.

    Returns:
        A 0-dim tensor from 1 to n. It grows with n until the cloud's variety is exhausted: compare equal
        sizes. Not differentiable.

    Raises:
        ValueError: A cloud of the wrong shape; a kernel with k(x, x) ≤ 0 or a negative eigenvalue.

    >>> from metrics.kernels import Gaussian
    >>> vendi_score(torch.tensor([[0.0], [0.0], [50.0], [50.0]]), kernel=Gaussian(1.0))
    tensor(2.)
    """
    check_cloud(x)
    with torch.no_grad():
        gram = check_kernel(kernel)(x.double(), x.double())
        own = gram.diagonal()
        if not bool((own > 0).all()):
            raise ValueError(
                f"kernel must have k(x, x) > 0, got {float(own.min()):.3g}; use a positive definite one"
            )
        similarity = gram / (own[:, None] * own).sqrt()
        values = torch.linalg.eigvalsh(similarity / len(x))
        # n roundings of the largest eigenvalue, which is at most 1, with a margin.
        if float(values[0]) < -1e-12 * len(x):
            raise ValueError(
                f"kernel must be positive definite, got an eigenvalue of {float(values[0]):.3g}; use another"
            )
        return torch.special.entr(values.clamp(min=0)).sum().exp().to(x.dtype)
