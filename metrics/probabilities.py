"""Refusals of predictions of classes: probabilities that are none, and labels that are no classes of theirs."""

import torch
from torch import Tensor

from metrics.inputs import HALF, check_dense, check_entries, check_type

__all__ = ["check_labels", "check_probabilities"]

LOGITS = "take logits through .softmax(-1)"

IGNORED = -100
"""The label that torch's losses leave out."""


def check_probabilities(
    probs: object, name: str = "probs", *, shape: str = "[n, classes]", ndim: int = 2
) -> Tensor:
    """Return class probabilities: no entry negative, sums of 1 over the last dimension, at least two classes.

    A sum may miss 1 by 1e-4: far above the rounding of a softmax in float32, far below what logits,
    percentages or a forgotten class would give.

    >>> check_probabilities(torch.tensor([[0.5, 1.8]]))
    Traceback (most recent call last):
    ValueError: probs must sum to 1 over the classes, got sums from 2.3 to 2.3; take logits through .softmax(-1)
    """
    if isinstance(probs, Tensor) and probs.dtype in HALF:
        # Rounded probabilities miss 1 by more than the check below allows, and float() alone mends no rounding.
        raise TypeError(
            f"{name} must be float32 or float64, got {probs.dtype}; take the softmax in float32, "
            f"logits.float().softmax(-1), or renormalise, {name}.float() / {name}.float().sum(-1, keepdim=True)"
        )
    p = check_type(probs, name)
    if p.ndim != ndim:
        raise ValueError(
            f"{name} must have shape {shape}, got {list(p.shape)}; {_with_classes(p, name, ndim)}"
        )
    check_entries(p, name)
    if p.shape[-1] == 1:
        raise ValueError(
            f"{name} must have two classes or more, got shape {list(p.shape)}; {_binary(p, name, '[..., 0]')}"
        )
    least = float(p.detach().min())
    if least < 0:
        raise ValueError(
            f"{name} must not be negative, got a minimum of {least:.3g}; take logits through .softmax(-1)"
        )
    low, high = _range_of_sums(p.detach())
    if max(1 - low, high - 1) > 1e-4:
        # What half precision rounds is off by less than 1 % a class; logits and counts are nowhere near.
        rounded = max(1 - low, high - 1) < 0.05
        remedy = f"renormalise with {name} / {name}.sum(-1, keepdim=True)" if rounded else LOGITS
        if (
            not rounded and float(p.detach().max()) <= 1
        ):  # a softmax of probabilities would pass, and be nearly uniform
            remedy = "take the logits themselves through .softmax(-1), not sigmoids of them"
            if ndim == 2:
                remedy += (
                    f"; of draws of class 1's probability pass p = {name}.mean(0), torch.stack([1 - p, p], 1)"
                )
        raise ValueError(
            f"{name} must sum to 1 over the classes, got sums from {low:.6g} to {high:.6g}; {remedy}"
        )
    return p


def _range_of_sums(p: Tensor) -> tuple[float, float]:
    """The least and the largest sum over the last dimension; a product with ones is twenty times as fast as `sum`."""
    with torch.autocast(p.device.type, enabled=False):
        sums = p.reshape(-1, p.shape[-1]) @ p.new_ones(p.shape[-1])
    low, high = (float(end) for end in sums.aminmax())
    if max(1 - low, high - 1) > 5e-5:  # too near to the bound for float32, or beyond it
        sums = p.double().sum(-1)
        low, high = float(sums.min()), float(sums.max())
    return low, high


def _with_classes(p: Tensor, name: str, ndim: int) -> str:
    """What makes [n, classes] or [samples, n, classes] of predictions with another number of dimensions."""
    first, points = ndim - 1, ndim - 2  # the dimensions of a map's classes, and of the points
    if p.ndim > ndim and p.is_floating_point() and not _sums_to_one(p, -1) and _sums_to_one(p, first):
        return (
            f"a map's classes come last, and its points in rows: {name}.movedim({first}, -1).flatten({points}, -2), "
            "with labels.flatten()"
        )
    if p.ndim > ndim and not (ndim == 2 and p.ndim == 3) and _sums_to_one(p, -1):
        return f"the points come in rows: {name}.flatten({points}, -2), with labels.flatten()"
    if ndim == 2 and p.ndim == 3:
        return f"the first dimension are samples: average them with {name}.mean(0)"
    if ndim == 3 and p.ndim == 2:
        return f"a single prediction is {name}[None]"
    if p.ndim == 1 and p.numel():
        return _binary(p, name, "")
    return "the last dimension are the classes: reshape it"


def _sums_to_one(p: Tensor, dim: int) -> bool:
    return p.numel() > 0 and bool(((p.detach().sum(dim) - 1).abs() < 1e-2).all())


def _binary(p: Tensor, name: str, column: str) -> str:
    """What makes two classes of one column: probabilities, or else logits."""
    if p.ndim > 1 and bool((p.detach() == 1).all()):
        return (
            "a softmax over one column is 1 everywhere: for logits z make p = z[..., 0].sigmoid() and "
            "torch.stack([1 - p, p], -1)"
        )
    inside = float(p.detach().min()) >= 0 and float(p.detach().max()) <= 1
    dim = 1 if p.ndim - bool(column) == 1 else -1
    told = "the probability" if inside else "the logit"
    step = f"p = {name}{column}" if inside else f"p = {name}{column}.sigmoid()"
    return f"from {told} of class 1 make both classes: {step}, torch.stack([1 - p, p], {dim})"


def check_labels(labels: object, probs: Tensor, name: str = "labels") -> Tensor:
    """Return class labels `[n]`, int64 and from 0 to classes − 1, for predictions `[n, classes]`."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(labels).__name__}; use torch.as_tensor")
    if labels.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got {labels.dtype}; convert with {name}.long()")
    check_dense(labels, name)
    n, classes = probs.shape
    if labels.shape != (n,):
        if labels.shape == (n, 1):
            remedy = f"drop the last dimension with {name}[:, 0]"
        elif labels.shape == (n, classes):
            remedy = f"a one-hot matrix becomes labels with {name}.argmax(1)"
        else:
            remedy = "pass the labels of the same inputs"
        raise ValueError(
            f"{name} must have shape [n] with one entry per prediction, [{n}], got {list(labels.shape)}; {remedy}"
        )
    if labels.device != probs.device:
        raise ValueError(
            f"{name} must be on the predictions' device, {probs.device}, got {labels.device}; move them"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        remedy = "count classes from 0"
        if bool((labels == IGNORED).any()):
            remedy = (
                f"{IGNORED} marks what is ignored: leave those points out with keep = {name} != {IGNORED}, of the "
                "predictions too (evaluate_predictions has ignore_index=)"
            )
        raise ValueError(f"{name} must be from 0 to {classes - 1}, got {low} to {high}; {remedy}")
    return labels
