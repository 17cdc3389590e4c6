"""The Gram matrix that a kernel gives, looked at where the kernel is somebody's own."""

import torch
from torch import Tensor

from metrics.inputs import check_entries
from metrics.kernels.kernel import Kernel, Polynomial, Radial

__all__ = ["gram_of"]


def gram_of(kernel: Kernel, x: Tensor, y: Tensor) -> Tensor:
    """Return k(x_i, y_j), [n, m], in float64.

    Raises:
        TypeError, ValueError: A kernel of somebody's own that gives no such matrix, or one that is not finite.

    >>> gram_of(lambda x, y: x.sum(1), torch.zeros(3, 2), torch.zeros(4, 2))
    Traceback (most recent call last):
    ValueError: kernel must return a matrix [3, 4], a row for each point of its first cloud, got shape [3]; compare \
all pairs
    """
    found: object = kernel(x, y)
    if isinstance(kernel, Radial | Polynomial) and isinstance(found, Tensor):
        return found.double()
    if not isinstance(found, Tensor):
        raise TypeError(
            f"kernel must return a tensor, got {type(found).__name__}; write lambda x, y: torch.as_tensor(kernel(x, y))"
        )
    if found.shape != (len(x), len(y)):
        raise ValueError(
            f"kernel must return a matrix {[len(x), len(y)]}, a row for each point of its first cloud, got shape "
            f"{list(found.shape)}; compare all pairs"
        )
    return check_entries(found.to(torch.float64), "kernel(x, y)")
