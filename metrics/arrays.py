"""Arrays of other libraries as tensors: numpy's, and whatever shares its memory by DLPack.

What an array holds beside its numbers does not come along: a mask is refused and not dropped, fields, texts, objects
and numbers wider than 64 bits are refused by name. What is no array is refused with what makes one of it.
"""

from collections.abc import Iterable, Mapping
from numbers import Number
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

__all__ = ["SupportsDLPack", "from_array", "made_tensor"]


@runtime_checkable
class SupportsDLPack(Protocol):
    """A tensor, a numpy array, or an array of another library that shares its memory by DLPack."""

    def __dlpack__(self) -> object:
        """Return the memory."""
        ...


def from_array(x: object, name: str) -> Tensor:
    """Return a tensor as it is, and a numpy or DLPack array as a tensor with the same type.

    >>> from_array(np.ones(2), "x")
    tensor([1., 1.], dtype=torch.float64)
    """
    if isinstance(x, Tensor):
        return x
    if isinstance(x, np.ndarray):
        # A copy: torch cannot share memory that is read-only, strided backwards or of another byte order.
        array = _of_numbers(x, name)
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    if isinstance(x, SupportsDLPack):
        return torch.from_dlpack(x)
    raise TypeError(f"{name} must be a tensor or an array, got {type(x).__name__}; {made_tensor(x, name)}")


def _of_numbers(x: np.ndarray, name: str) -> np.ndarray:
    """An array of numbers that all count; a mask would be lost on the way, and what it hides be taken for data."""
    hidden = int(np.ma.getmaskarray(x).sum()) if isinstance(x, np.ma.MaskedArray) else 0
    if hidden:
        remedy = "numpy.ma.compress_rows" if x.ndim == 2 else "numpy.ma.compressed"
        raise ValueError(
            f"{name} must have no masked entries, got {hidden}; leave them out, {remedy}({name}), or fill them"
        )
    widest = 16 if x.dtype.kind == "c" else 8
    if x.dtype.kind not in "biufc" or x.dtype.itemsize > widest:
        remedy = f"numpy.array({name}.tolist())" if x.dtype.names else f"{name}.astype('float64')"
        raise TypeError(
            f"{name} must be an array of plain numbers, got {x.dtype}; where they are numbers pass {remedy}"
        )
    return x


def made_tensor(x: object, name: str) -> str:
    """Say how something that is neither a tensor nor an array becomes one.

    >>> made_tensor([torch.zeros(2)], "x")
    'put its tensors together with torch.stack(x), or torch.cat where they are batches'
    """
    if callable(getattr(x, "to_numpy", None)):  # pandas', polars'
        return f"pass {name}.to_numpy()"
    first = x[0] if isinstance(x, list | tuple) and x else 0
    if isinstance(x, Mapping) or isinstance(first, Mapping):
        return "pick the samples in it"
    if isinstance(first, Tensor):
        return f"put its tensors together with torch.stack({name}), or torch.cat where they are batches"
    if isinstance(getattr(x, "probs", None), Tensor):  # a distribution of classes
        return f"pass {name}.probs"
    if not isinstance(first, list | tuple | Number | str):
        return f"make an array of each, numpy.stack([numpy.asarray(one) for one in {name}])"
    batches = hasattr(x, "__getitem__") or isinstance(x, Iterable)
    if batches and not isinstance(x, list | tuple | range | str):
        return "pass the samples in it as one tensor"
    return "use torch.as_tensor"
