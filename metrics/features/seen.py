"""What a feature map makes of samples: a row of numbers for each, in evaluation mode, whatever mode it was left in.

A network that is still in training mode drops features at random, normalises each cloud by that cloud's own statistics,
which hides what is to be measured, and moves its running statistics by being looked through.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from metrics.evaluating import evaluating
from metrics.inputs import as_tensor

__all__ = ["seen"]


def seen(map: Callable[[Tensor], Any], x: Tensor, name: str) -> Tensor:
    """Return map(x), [n, ...], without a gradient.

    Args:
        map: From samples [n, ...] to a row for each.
        x: The samples.
        name: What messages call the map.

    Raises:
        TypeError: A map that cannot be called, or gives no tensor.
        ValueError: One that cannot take these samples, or does not give a row for each.

    >>> seen(lambda x: x.mean(0), torch.zeros(3, 2), "features")
    Traceback (most recent call last):
    ValueError: features(x) must have a row for each of 3 samples, got shape [2]; return [n, k]
    """
    if not callable(map):
        raise TypeError(
            f"{name} must be a function of samples, got {type(map).__name__}; see metrics.features"
        )
    with torch.no_grad(), evaluating(*([map] if isinstance(map, nn.Module) else [])):
        try:
            made = map(x)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            told = str(error).splitlines()[0]
            raise ValueError(
                f"{name} cannot take samples of {x.dtype} {list(x.shape)}: {told}; convert the samples, or wrap the "
                "map in a function that does"
            ) from error
    found = as_tensor(made, f"{name}(x)")
    if found.ndim < 2 or len(found) != len(x):
        raise ValueError(
            f"{name}(x) must have a row for each of {len(x)} samples, got shape {list(found.shape)}; return [n, k]"
        )
    return found
