"""What `evaluate` was given, as tensors that can be compared: of one type, on one scale, pixel against pixel.

A source is a tensor, an array, batches, a Dataset, a folder or a file; once it is a tensor nobody knows what it was, so
that a remedy tells both: what to write of a tensor, and how another source becomes one.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from metrics.features.sources import read_named
from metrics.inputs import SupportsDLPack, from_array

__all__ = ["check_kind", "check_pictures", "whole"]

NO_TENSOR = "where {0} is no tensor of torch.as_tensor({0}) or metrics.features.read_source({0})"


def whole(source: object, name: str) -> Tensor:
    """Return a source as one tensor.

    >>> whole([torch.zeros(2, 1), torch.zeros(3, 1)], "samples").shape
    torch.Size([5, 1])
    """
    rows = isinstance(source, list | tuple) and not (source and isinstance(source[0], SupportsDLPack | tuple))
    frame = hasattr(source, "to_numpy")  # it has a length and items, its columns
    several = isinstance(source, str | Path | Iterable) or hasattr(source, "__getitem__")
    if rows or frame or isinstance(source, SupportsDLPack) or not several:
        found = from_array(source, name)
    else:
        found = read_named(source, name)
    numbers = found.is_floating_point() or found.is_complex() or found.dtype == torch.uint8
    if not numbers and not isinstance(source, Tensor):
        raise TypeError(
            f"{name} must be floats, or uint8 for pictures, got {found.dtype}; pass {name}.float(), "
            f"{NO_TENSOR.format(name)}"
        )
    return found


def check_kind(a: Tensor, b: Tensor, names: tuple[str, str]) -> None:
    """Refuse grey values 0 … 255 against floats, which are scaled otherwise, and single against double precision."""
    both = f"{names[0]} and {names[1]}"
    if (a.dtype == torch.uint8) != (b.dtype == torch.uint8):
        x = names[0] if a.dtype == torch.uint8 else names[1]
        raise TypeError(
            f"{both} must both be uint8 or both be floats, got {a.dtype} and {b.dtype}; bring both to one scale: "
            f"beside pixels in [-1, 1] pass {x}.float() / 127.5 - 1, {NO_TENSOR.format(x)}"
        )
    floats = a.is_floating_point() and b.is_floating_point()
    if floats and (a.dtype == torch.float64) != (b.dtype == torch.float64):
        x = names[1] if a.dtype == torch.float64 else names[0]
        raise TypeError(
            f"{both} must have the same dtype, got {a.dtype} and {b.dtype}; pass {x}.double(), {NO_TENSOR.format(x)}"
        )


def check_pictures(samples: Tensor, reference: Tensor) -> None:
    """Refuse pictures whose pixels would meet others.

    >>> check_pictures(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, 3))
    Traceback (most recent call last):
    ValueError: samples and reference must be pictures of one shape, got [3, 2, 2] and [2, 2, 3]; move the channels of \
one, torch.as_tensor(x).permute(0, 3, 1, 2)
    """
    if not samples.ndim == reference.ndim == 4 or samples.shape[1:] == reference.shape[1:]:
        return
    remedy = "resize one"
    if sorted(samples.shape[1:]) == sorted(reference.shape[1:]):
        remedy = "move the channels of one, torch.as_tensor(x).permute(0, 3, 1, 2)"
    raise ValueError(
        f"samples and reference must be pictures of one shape, got {list(samples.shape[1:])} and "
        f"{list(reference.shape[1:])}; {remedy}"
    )
