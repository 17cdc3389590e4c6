"""The Vendi score: the effective number of different points in a cloud (Friedman & Dieng 2023).

With a similarity k, k(x, x) = 1, and the eigenvalues λ_i of K/n, which sum to one,

    VS = exp(−Σ λ_i ln λ_i),

the exponential of their entropy: 1 if all points are alike, n if none has anything in common with another,
and G for G groups of equal size with similarity 1 within and 0 between. It looks at one cloud only and so
says nothing about fidelity: read it beside the score of the reference under the same kernel. A kernel that
is fitted to the samples themselves would undo a collapse of scale, so the kernel is the caller's: for
instance `Gaussian(median_heuristic(reference))`.

Of another order q > 0 it is the Hill number of the eigenvalues,

    VS_q = (Σ λ_i^q)^{1/(1−q)},    VS_∞ = 1/max λ_i                  (Pasarkar & Dieng 2023),

which falls as q grows: a small q sees rare kinds of points, a large one only the most common.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_cloud, check_positive
from metrics.kernels.gram import gram_of
from metrics.kernels.kernel import Kernel, Polynomial, check_kernel
from metrics.precision import full_precision

__all__ = ["vendi_score"]


@full_precision
def vendi_score(x: Float[Tensor, "n d"], *, kernel: Kernel, order: float | int = 1.0) -> Float[Tensor, ""]:
    """Return the effective number of different points, exp of the entropy of the eigenvalues of K/n.

    Args:
        x: Samples, [n, d]; the cost is O(n³), of the cosine below O(n d min(n, d)).
        kernel: A positive definite kernel, such as those in `metrics.kernels`; divided by √(k(x,x)·k(y,y)),
            so that every point has similarity 1 with itself. `Polynomial(degree=1, offset=0.0)` is the cosine, as
            `score_X` and `score_dual` of the authors' vendi-score have it.
        order: q > 0 of the Hill number; 1 is the entropy's, `math.inf` one over the largest eigenvalue.

    Returns:
        A 0-dim tensor from 1 to n. It grows with n until the cloud's variety is exhausted: compare equal
        sizes. Not differentiable.

    Raises:
        ValueError: A cloud of the wrong shape; a kernel with k(x, x) ≤ 0 or a negative eigenvalue; an order q ≤ 0.

    >>> from metrics.kernels import Gaussian
    >>> vendi_score(torch.tensor([[0.0], [0.0], [50.0], [50.0]]), kernel=Gaussian(1.0))
    tensor(2.)
    """
    check_cloud(x)
    q = math.inf if order == math.inf else check_positive(order, "order")
    with torch.no_grad():
        values = torch.linalg.eigvalsh(_similarity(x.double(), kernel) / len(x))
        # n roundings of the largest eigenvalue, which is at most 1, with a margin.
        if float(values[0]) < -1e-12 * len(x):
            raise ValueError(
                f"kernel must be positive definite, got an eigenvalue of {float(values[0]):.3g}; use another"
            )
        # What is within rounding of 0 is 0: a small order would count it as a kind of its own.
        rounding = 4 * len(x) * torch.finfo(values.dtype).eps * float(values[-1])
        return _hill_number(values.where(values > rounding, 0.0), q).to(x.dtype)


def _similarity(x: Tensor, kernel: Kernel) -> Tensor:
    """A matrix with the eigenvalues above 0 of k(x, x')/√(k(x, x)·k(x', x')): of inner products, the smaller of two."""
    checked = check_kernel(kernel)
    if isinstance(checked, Polynomial) and (checked.degree, checked.offset) == (1, 0):
        # Squares of what is divided by it neither vanish nor overflow.
        largest = x.abs().amax(1, keepdim=True)
        _check_own(largest)
        directions = torch.nn.functional.normalize(x / largest)
        return directions.T @ directions if len(x) > x.shape[1] else directions @ directions.T
    gram = gram_of(checked, x, x)
    own = gram.diagonal()
    _check_own(own)
    return gram / (own[:, None] * own).sqrt()


def _check_own(own: Tensor) -> None:
    if not bool((own > 0).all()):
        raise ValueError(
            f"kernel must have k(x, x) > 0, got {float(own.min()):.3g}; use a positive definite one"
        )


def _hill_number(shares: Tensor, q: float) -> Tensor:
    """The effective number of kinds with these shares."""
    if q == math.inf:
        return 1 / shares.max()
    # Near q = 1 the power's exponent grows without bound while its base tends to 1.
    if abs(q - 1) < 1e-6:
        return torch.special.entr(shares).sum().exp()
    return (torch.logsumexp(q * shares.log(), 0) / (1 - q)).exp()
