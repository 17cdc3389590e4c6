"""What every recalibration of classes shares: the mean prediction, and its shape on the way back."""

from typing import TypeVar

import torch
from torch import Tensor

from metrics.probabilities import check_labels, check_probabilities

__all__ = ["fitted", "log_of", "mean_prediction", "of_classes", "shaped", "with_labels"]

T = TypeVar("T")


def mean_prediction(probs: object) -> Tensor:
    """Return predictions [n, classes] in float64: those given, or the mean of [samples, n, classes]."""
    if isinstance(probs, Tensor) and probs.ndim == 3:
        return (
            check_probabilities(probs, shape="[samples, n, classes]", ndim=3)
            .detach()
            .mean(0, dtype=torch.float64)
        )
    return check_probabilities(probs).detach().double()


def with_labels(probs: object, labels: object) -> tuple[Tensor, Tensor]:
    """Return mean predictions and the labels that fit them."""
    p = mean_prediction(probs)
    return p, check_labels(labels, p)


def log_of(p: Tensor) -> Tensor:
    """Return log-probabilities; those of 0 as of the least number of float32, −87, so that all is finite."""
    return p.clamp(min=torch.finfo(torch.float32).tiny).log()


def fitted(value: T | None, name: str) -> T:
    """Return what `fit` has set."""
    if value is None:
        raise ValueError(
            f"{name} must be fitted before it is called; call fit(probs, labels) on validation data"
        )
    return value


def of_classes(p: Tensor, count: int) -> Tensor:
    """Return predictions of the classes that were fitted."""
    if p.shape[1] != count:
        raise ValueError(
            f"probs must have the {count} classes that were fitted, got {p.shape[1]}; fit on these"
        )
    return p


def shaped(mapped: Tensor, like: Tensor) -> Tensor:
    """Return mapped predictions in the type of what was given, [1, n, classes] for samples."""
    return (mapped[None] if like.ndim == 3 else mapped).to(like.dtype)
