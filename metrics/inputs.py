"""Refusals: every public function checks what enters it here, and nowhere else.

A check returns the value that it has checked, ready for use, and raises `TypeError` for a wrong type or
`ValueError` for a wrong value. The message names the argument, the rule, what came and what to do about it.
"""

import math

import torch
from torch import Tensor

__all__ = [
    "check_alike",
    "check_cloud",
    "check_count",
    "check_fraction",
    "check_labels",
    "check_pair",
    "check_positive",
    "check_probabilities",
    "check_tensor",
    "check_weights",
]


def check_tensor(x: object, name: str, *, shape: str, ndim: int) -> Tensor:
    """Return `x` if it is a finite, non-empty float32 or float64 tensor with `ndim` dimensions.

    Args:
        x: What the user passed.
        name: The argument's name, for the message.
        shape: The rule for the shape, for the message, such as `[n, d]`.
        ndim: The number of dimensions that the rule asks for.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}; use torch.as_tensor")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, got {x.dtype}; convert with {name}.float()")
    if x.ndim != ndim:
        remedy = f"add a dimension with {name}[:, None]" if (x.ndim, ndim) == (1, 2) else "reshape it"
        raise ValueError(f"{name} must have shape {shape}, got {list(x.shape)}; {remedy}")
    if x.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {list(x.shape)}; pass at least one sample")
    # NaN passes through a minimum and a maximum, which take a tenth of the time of asking every entry.
    if not bool(torch.stack(x.detach().aminmax()).isfinite().all()):
        bad = int((~x.detach().isfinite()).sum())
        raise ValueError(f"{name} must be finite, got {bad} NaN or infinite entries; remove or mend them")
    return x


def check_cloud(x: object, name: str = "x", *, least: int = 1) -> Tensor:
    """Return `x` if it is a cloud of samples `[n, d]` with at least `least` of them.

    >>> check_cloud(torch.zeros(5))
    Traceback (most recent call last):
    ValueError: x must have shape [n, d], got [5]; add a dimension with x[:, None]
    """
    cloud = check_tensor(x, name, shape="[n, d]", ndim=2)
    if len(cloud) < least:
        raise ValueError(f"{name} must hold at least {least} samples, got {len(cloud)}; pass more")
    return cloud


def check_pair(
    x: object, y: object, names: tuple[str, str] = ("x", "y"), *, least: int = 1
) -> tuple[Tensor, Tensor]:
    """Return two clouds that can be compared: the same d, type and device."""
    a, b = check_cloud(x, names[0], least=least), check_cloud(y, names[1], least=least)
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same number of columns, got {a.shape[1]} and "
            f"{b.shape[1]}; compare points of one space"
        )
    check_alike(a, b, names)
    return a, b


def check_alike(a: Tensor, b: Tensor, names: tuple[str, str]) -> None:
    """Refuse two tensors that differ in type or device."""
    if a.dtype != b.dtype:
        raise TypeError(
            f"{names[0]} and {names[1]} must have the same dtype, got {a.dtype} and {b.dtype}; "
            f"convert one with .to({names[0]}.dtype)"
        )
    if a.device != b.device:
        raise ValueError(
            f"{names[0]} and {names[1]} must be on the same device, got {a.device} and {b.device}; "
            f"move one with .to({names[0]}.device)"
        )


def check_probabilities(
    probs: object, name: str = "probs", *, shape: str = "[n, classes]", ndim: int = 2
) -> Tensor:
    """Return class probabilities: no entry negative, sums of 1 over the last dimension.

    A sum may miss 1 by 1e-4: far above the rounding of a softmax in float32, far below what logits,
    percentages or a forgotten class would give.

    >>> check_probabilities(torch.tensor([[0.5, 0.6]]))
    Traceback (most recent call last):
    ValueError: probs must sum to 1 over the classes, got sums from 1.1 to 1.1; take logits through .softmax(-1)
    """
    p = check_tensor(probs, name, shape=shape, ndim=ndim)
    least = float(p.detach().min())
    if least < 0:
        raise ValueError(
            f"{name} must not be negative, got a minimum of {least:.3g}; take logits through .softmax(-1)"
        )
    sums = p.detach().double().sum(-1)
    low, high = float(sums.min()), float(sums.max())
    if max(1 - low, high - 1) > 1e-4:
        raise ValueError(
            f"{name} must sum to 1 over the classes, got sums from {low:.6g} to {high:.6g}; "
            "take logits through .softmax(-1)"
        )
    return p


def check_labels(labels: object, probs: Tensor, name: str = "labels") -> Tensor:
    """Return class labels `[n]`, int64 and from 0 to classes − 1, for predictions `[n, classes]`."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(labels).__name__}; use torch.as_tensor")
    if labels.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got {labels.dtype}; convert with {name}.long()")
    n, classes = probs.shape
    if labels.shape != (n,):
        raise ValueError(
            f"{name} must have shape [n] with one entry per prediction, [{n}], got {list(labels.shape)}; "
            f"a one-hot matrix becomes labels with {name}.argmax(1)"
        )
    if labels.device != probs.device:
        raise ValueError(
            f"{name} must be on the predictions' device, {probs.device}, got {labels.device}; move them"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(f"{name} must be from 0 to {classes - 1}, got {low} to {high}; count classes from 0")
    return labels


def check_weights(weights: object, cloud: Tensor, name: str) -> Tensor:
    """Return weights `[n]` that sum to one; `None` is uniform.

    >>> check_weights(torch.tensor([1., 3.]), torch.zeros(2, 1), "weights_x")
    tensor([0.2500, 0.7500])
    """
    if weights is None:
        return torch.full((len(cloud),), 1 / len(cloud), dtype=cloud.dtype, device=cloud.device)
    w = check_tensor(weights, name, shape="[n]", ndim=1)
    if len(w) != len(cloud):
        raise ValueError(f"{name} must have one entry per sample, {len(cloud)}, got {len(w)}")
    if w.dtype != cloud.dtype or w.device != cloud.device:
        raise TypeError(
            f"{name} must be {cloud.dtype} on {cloud.device} as its cloud, got {w.dtype} on {w.device}; "
            f"convert it with {name}.to(cloud)"
        )
    if bool((w.detach() < 0).any()):
        raise ValueError(f"{name} must not be negative, got a minimum of {float(w.min()):.3g}")
    total = w.sum()
    if not float(total.detach()) > 0:
        raise ValueError(f"{name} must have a positive sum, got {float(total):.3g}")
    return w / total


def check_positive(value: object, name: str) -> float:
    """Return a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be finite and above 0, got {number}")
    return number


def check_fraction(value: object, name: str) -> float:
    """Return a number strictly between 0 and 1."""
    fraction = check_positive(value, name)
    if fraction >= 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value}")
    return fraction


def check_count(value: object, name: str, *, least: int = 1, below: int | None = None) -> int:
    """Return a whole number of at least `least`, and under `below` where that is given."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if below is not None and value >= below:
        raise ValueError(f"{name} must be below {below}, got {value}; lower it or pass more samples")
    return value
