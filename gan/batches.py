"""What a batch of real samples must be: finite numbers or bytes of one shape, alone or with classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gan.data.sets import check_classes

__all__ = ["Batch", "check_batch", "check_samples", "no_batch", "pair_of"]

Batch = tuple[Tensor, Tensor | None]
"""Samples and, where there are any, their classes."""


def check_samples(samples: Tensor) -> Tensor:
    """Return samples [n, ...] of real, finite numbers or bytes, and refuse others with the next step.

    >>> check_samples(torch.zeros(3))
    Traceback (most recent call last):
    ValueError: data must have shape [n, d] or [n, c, h, w], one row a sample, got [3]; reshape it, numbers to [n, 1]
    """
    if samples.layout != torch.strided:
        raise TypeError(f"data must be dense, got {samples.layout}; use .to_dense()")
    if samples.ndim < 2:
        raise ValueError(
            f"data must have shape [n, d] or [n, c, h, w], one row a sample, got {list(samples.shape)}; reshape it, "
            "numbers to [n, 1]"
        )
    if samples.dtype != torch.uint8 and not samples.is_floating_point():
        remedy = "use .float(), of an array torch.as_tensor(data).float()"
        if samples.is_complex():
            remedy = "pass torch.view_as_real(data)"
        raise TypeError(f"data must be floating point, or uint8 for pictures, got {samples.dtype}; {remedy}")
    if len(samples) == 0 or samples.numel() == 0:
        raise ValueError(
            f"data must hold at least 1 sample, got shape {list(samples.shape)}; give it samples"
        )
    if samples.is_floating_point() and not bool(samples.isfinite().all()):
        raise ValueError("data must be finite, got NaN or infinity; drop those samples")
    return samples


def check_batch(batch: Batch, classes: int) -> Batch:
    """Return a batch of a dataset or a loader: finite samples, classes below their number where they are used."""
    samples, labels = check_samples(batch[0]), batch[1]
    if classes and labels is not None:
        labels = check_classes(labels, len(samples), "labels")
        if int(labels.max()) >= classes:
            raise ValueError(
                f"labels must be below num_classes = {classes}, got {int(labels.max())}; make more classes"
            )
    return samples, labels


def pair_of(batch: object) -> Batch:
    """Return the samples and classes of a batch."""
    if isinstance(batch, Sequence) and 1 <= len(batch) <= 2 and isinstance(batch[0], Tensor):
        labels = batch[1] if len(batch) == 2 else None
        if labels is not None and not isinstance(labels, Tensor):
            raise TypeError(
                f"labels of a batch must be whole numbers, got {type(labels[0]).__name__}; number the classes from 0 "
                "in the dataset's __getitem__"
            )
        return batch[0], labels
    if isinstance(batch, Tensor):
        return batch, None
    raise TypeError(
        f"a batch must be samples or a pair (samples, labels) of tensors, got {_told(batch)}; return the pair from the "
        "dataset's __getitem__, or pick it with a DataLoader's collate_fn"
    )


def _told(batch: object) -> str:
    if isinstance(batch, dict):
        return f"a dict of {', '.join(map(repr, batch))}"
    return f"{len(batch)} things" if isinstance(batch, list | tuple) else type(batch).__name__


def no_batch(error: Exception) -> TypeError:
    """Return the refusal of samples that cannot be put into one tensor."""
    told = str(error).strip().splitlines()[-1]
    return TypeError(
        f"data must give tensors or arrays of one shape, or pairs with a class ({told}); turn pictures into tensors in "
        "the dataset's __getitem__, torch.from_numpy(numpy.array(picture)), resized to one shape"
    )
