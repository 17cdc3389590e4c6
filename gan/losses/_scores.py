"""The refusals that all score losses share."""

import torch
from torch import Tensor


def check_scores(real: object, fake: object) -> tuple[Tensor, Tensor]:
    """Return the scores of the two clouds if both have shape `[n, 1]` and one type and device.

    NaN and infinity pass through into the loss: looking for them would make a GPU wait at every step, and a
    trainer sees them in the loss anyway.
    """
    r, s = _check_one(real, "real"), _check_one(fake, "fake")
    if r.dtype != s.dtype:
        raise TypeError(f"real and fake must have the same dtype, got {r.dtype} and {s.dtype}; convert one")
    if r.device != s.device:
        raise ValueError(
            f"real and fake must be on the same device, got {r.device} and {s.device}; move one with .to()"
        )
    return r, s


def check_paired_scores(real: object, fake: object) -> tuple[Tensor, Tensor]:
    """Return the scores of two clouds of one size, as `check_scores`."""
    r, s = check_scores(real, fake)
    if len(r) != len(s):
        raise ValueError(
            f"real and fake must hold as many scores as one another, got {len(r)} and {len(s)}; "
            "this loss pairs them"
        )
    return r, s


def _check_one(scores: object, name: str) -> Tensor:
    if not isinstance(scores, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(scores).__name__}; use torch.as_tensor")
    if scores.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, got {scores.dtype}; convert with {name}.float()")
    if scores.ndim != 2 or scores.shape[1] != 1:
        raise ValueError(
            f"{name} must have shape [n, 1], got {list(scores.shape)}; "
            "a score loss needs a critic with one output"
        )
    if len(scores) == 0:
        raise ValueError(f"{name} must not be empty, got shape {list(scores.shape)}; pass at least one score")
    return scores
