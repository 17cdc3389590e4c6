"""Features: what an image is compared by. A feature map is any callable from [n, d] to [n, k].

Distances between pixels say little about what an image shows, so images are compared in the penultimate
layer of a classifier (Salimans et al. 2016; Heusel et al. 2017, with a network trained on ImageNet). For
digits of 8 × 8 or 28 × 28 pixels a small network does, trained here at first use in a few seconds: two
hidden layers of 128 and 32 rectified linear units, 1500 steps of Adam on batches of 128, cosine schedule.
It sees the training half only, so that the held-out half is as new to the features as to the generator.

A Fréchet distance in these features has its own scale: it can be compared with others in the same features
(the same `hash`) and with its floor, never with a published FID.
"""

import math
import os
import warnings
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import SupportsIndex

import torch
from jaxtyping import Float, Int64
from platformdirs import user_cache_dir
from torch import Tensor
from torch.nn import functional

from metrics.features.digits import load_digits_split
from metrics.features.fingerprint import fingerprint
from metrics.files import read, write
from metrics.inputs import check_cloud, check_count
from metrics.precision import full_precision

__all__ = ["ImageClassifier", "cache_folder", "digits_classifier"]

HIDDEN = (128, 32)
STEPS = 1500
BATCH = 128
RECIPE = 1
"""Counts the changes of the training below, so that a cache of an older one is not read."""


@dataclass(frozen=True, eq=False)
class ImageClassifier:
    """A classifier of flat images, called for its penultimate layer: a feature map [n, d] → [n, 32].

    It computes on the device and in the type of its input, and is differentiable in it; its own weights are
    constants.

    Attributes:
        name: What it is, for reports.
        weights: The matrices and biases of its three layers, in order.
    """

    name: str
    weights: tuple[Tensor, ...]

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the weights' bytes: equal hashes are equal features."""
        return fingerprint(*self.weights)

    @full_precision
    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the activations of the last hidden layer."""
        check_cloud(x)
        if x.shape[1] != self.weights[0].shape[1]:
            raise ValueError(
                f"x must have {self.weights[0].shape[1]} columns as the images of the training had, got {x.shape[1]}"
            )
        return _hidden(self.weights, x)

    @full_precision
    def logits(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Return the unnormalised log-probabilities of the classes."""
        return functional.linear(self(x), self.weights[4].to(x), self.weights[5].to(x))


@full_precision
def digits_classifier(
    images: Float[Tensor, "n d"] | None = None,
    labels: Int64[Tensor, " n"] | None = None,
    *,
    seed: SupportsIndex = 0,
) -> ImageClassifier:
    """Return a classifier of digits as a feature map, from the cache or trained now in a few seconds.

    Args:
        images: Training images [n, d], flat, with pixels in [−1, 1]; `None` is the training half of
            scikit-learn's digits (d = 64). For other sizes pass their training set, never the images that a
            report will use as its reference.
        labels: Their classes [n], int64, from 0.
        seed: For the initial weights and the order of the batches.

    Returns:
        A callable x → [n, 32] with a `name` and a `hash`. The same data and seed give the same weights on
        one machine. They are kept in `cache_folder()`; a file there that is damaged is trained anew with a
        warning.

    Raises:
        ValueError: Images without labels or the reverse, of different lengths, pixels outside [−1, 1],
            fewer than two classes.

    >>> features = digits_classifier()
    >>> features(load_digits_split().held_x).shape
    torch.Size([899, 32])
    """
    seed = check_count(seed, "seed", least=0)
    if images is None and labels is None:
        images, labels, *_ = load_digits_split()
    x, y = _checked(images, labels)
    name = f"digits classifier, {x.shape[1]} pixels, seed {seed}"
    key = fingerprint(x, y, torch.tensor([seed, RECIPE, STEPS, BATCH, *HIDDEN]))
    path = cache_folder() / f"digits-classifier-{key[:16]}.safetensors"
    cached = _load(path, name, key)
    if cached is not None:
        return cached
    classifier = ImageClassifier(name, _train(x, y, seed))
    try:
        tensors = {str(i): weight for i, weight in enumerate(classifier.weights)}
        write(path, tensors, {"key": key, "hash": classifier.hash})
    except OSError as error:
        warnings.warn(
            f"features are not cached: {error}; set BAYESSGD_CACHE to a writable folder", stacklevel=2
        )
    return classifier


def cache_folder() -> Path:
    """Return the folder for trained features: the environment variable BAYESSGD_CACHE, else the user's cache folder."""
    return Path(os.environ.get("BAYESSGD_CACHE") or user_cache_dir("bayessgd"))


def _checked(images: object, labels: object) -> tuple[Tensor, Tensor]:
    if images is None or labels is None:
        missing = "images" if images is None else "labels"
        raise ValueError(f"images and labels must be given together, got no {missing}; pass both or neither")
    x = check_cloud(images, "images").detach().cpu().float()
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels must be an int64 tensor, got {kind}; convert with labels.long()")
    if labels.shape != (len(x),):
        raise ValueError(
            f"labels must have shape [{len(x)}] as there are so many images, got {list(labels.shape)}"
        )
    y = labels.cpu()
    if float(x.abs().max()) > 1:
        raise ValueError(
            f"images must have pixels in [−1, 1], got up to {float(x.abs().max()):.3g}; rescale them"
        )
    if int(y.min()) < 0 or int(y.max()) < 1:
        raise ValueError(f"labels must hold classes 0 and 1 at least, got {int(y.min())} to {int(y.max())}")
    return x, y


def _load(path: Path, name: str, key: str) -> ImageClassifier | None:
    """The cached classifier, if there is one and every bit of it is as written."""
    if not path.is_file():
        return None
    try:
        tensors, metadata = read(path)
        classifier = ImageClassifier(name, tuple(tensors[str(i)] for i in range(len(tensors))))
        if metadata["key"] != key or metadata["hash"] != classifier.hash:
            raise ValueError(f"{path} does not hold what its name says")
    except (ValueError, KeyError, OSError) as error:
        warnings.warn(f"the cached features are damaged and are trained anew: {error}", stacklevel=3)
        return None
    return classifier


def _train(x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, ...]:
    random = torch.Generator().manual_seed(seed)
    widths = (x.shape[1], *HIDDEN, int(y.max()) + 1)
    weights: list[Tensor] = []
    for fan_in, fan_out in pairwise(widths):
        # He et al. 2015: variance 2/fan_in keeps the scale of rectified layers.
        weights += [
            torch.randn(fan_out, fan_in, generator=random) * math.sqrt(2 / fan_in),
            torch.zeros(fan_out),
        ]
    for weight in weights:
        weight.requires_grad_()
    optimizer = torch.optim.AdamW(weights, lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    with torch.enable_grad():
        for _ in range(STEPS):
            pick = torch.randint(len(x), (BATCH,), generator=random)
            logits = functional.linear(_hidden(tuple(weights), x[pick]), weights[4], weights[5])
            optimizer.zero_grad()
            functional.cross_entropy(logits, y[pick]).backward()
            optimizer.step()
            schedule.step()
    return tuple(weight.detach() for weight in weights)


def _hidden(weights: tuple[Tensor, ...], x: Tensor) -> Tensor:
    for matrix, bias in (weights[0:2], weights[2:4]):
        x = functional.relu(functional.linear(x, matrix.to(x), bias.to(x)))
    return x
