"""Scikit-learn's handwritten digits, split once and for all into a training half and a held-out half.

1797 images of 8 × 8 pixels with integer grey values 0 … 16 and labels 0 … 9: the test part of Alpaydin &
Kaynak 1998 (UCI, "Optical recognition of handwritten digits"), which ships inside scikit-learn, so nothing is
downloaded. The split is stratified by label and fixed: whatever is fitted (a generator, a classifier of
features, a posterior) sees the training half, and whatever judges it uses the held-out half. Pixels are
scaled by v ↦ v/8 − 1 to [−1, 1], the range of a tanh.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

__all__ = ["DigitsSplit", "load_digits_split"]


class DigitsSplit(NamedTuple):
    """The two halves of the digits; it unpacks as `train_x, train_y, held_x, held_y`."""

    train_x: Float[Tensor, "n 64"]
    train_y: Int64[Tensor, " n"]
    held_x: Float[Tensor, "m 64"]
    held_y: Int64[Tensor, " m"]


def load_digits_split(*, dtype: torch.dtype = torch.float32) -> DigitsSplit:
    """Return the digits as a stratified training half (898 images) and held-out half (899).

    Args:
        dtype: The type of the pixels.

    Returns:
        Images `[898, 64]` and `[899, 64]` with pixels in [−1, 1], row by row, and their labels; the same at
        every call.

    >>> train_x, train_y, held_x, held_y = load_digits_split()
    >>> train_x.shape, held_x.shape
    (torch.Size([898, 64]), torch.Size([899, 64]))
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train_x, held_x, train_y, held_y = train_test_split(
        images, labels, test_size=0.5, stratify=labels, random_state=0
    )
    return DigitsSplit(
        torch.as_tensor(train_x, dtype=dtype) / 8 - 1,
        torch.as_tensor(train_y, dtype=torch.int64),
        torch.as_tensor(held_x, dtype=dtype) / 8 - 1,
        torch.as_tensor(held_y, dtype=torch.int64),
    )
