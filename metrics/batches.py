"""Batches of problems: clouds [b, n, d] against [b, m, d], the k-th against the k-th, or one cloud against all of them.

A problem of a batch is the problem that it would be alone: its own kernel, unit and weights, and nothing of its
neighbours'. One cloud [m, d] (or [n, d]) beside a batch is that of every problem, and so are its weights.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_alike, check_cloud, check_tensor, check_weights

__all__ = ["Weights", "batch_weights", "check_batches", "is_batch", "over_batch"]

SMALL = 2**14
"""Pairs of points of a problem up to which problems share their operations; larger ones stand alone."""

TOGETHER = 2**20
"""Pairs of points of all problems that share their operations: 8 MiB in float64."""

Weights = Tensor | None
"""Of the points of a cloud or of a batch of them; None is uniform."""

Problem = Callable[[Tensor, Tensor, Weights, Weights], Tensor]
"""From clouds x, y and their weights to a number, or from batches of them to [b]."""


def is_batch(x: object, y: object) -> bool:
    """Whether one of two arguments is a batch of clouds.

    >>> is_batch(torch.zeros(4, 1), torch.zeros(2, 3, 1))
    True
    """
    return any(isinstance(t, Tensor) and t.ndim == 3 for t in (x, y))


def check_batches(
    x: object, y: object, names: tuple[str, str] = ("x", "y"), *, least: int = 1
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b m d"]]:
    """Return both sides of b problems, a single cloud as that of each.

    >>> [tuple(t.shape) for t in check_batches(torch.zeros(5, 3, 2), torch.zeros(4, 2))]
    [(5, 3, 2), (5, 4, 2)]
    >>> check_batches(torch.zeros(5, 3, 2), torch.zeros(1, 3, 2))
    Traceback (most recent call last):
    ValueError: x and y must be batches of as many problems, [b, n, d] and [b, m, d], got [5, 3, 2] and [1, 3, 2]; \
repeat one with .expand, or pass one cloud [m, d] for all
    """
    sides = [_side(t, name, least) for t, name in zip((x, y), names, strict=True)]
    check_alike(sides[0], sides[1], names)
    counts = [len(t) for t in sides if t.ndim == 3]
    if len(set(counts)) > 1 or sides[0].shape[-1] != sides[1].shape[-1]:
        shapes = " and ".join(str(list(t.shape)) for t in sides)
        raise ValueError(
            f"{names[0]} and {names[1]} must be batches of as many problems, [b, n, d] and [b, m, d], got {shapes}; "
            "repeat one with .expand, or pass one cloud [m, d] for all"
        )
    a, b = (t if t.ndim == 3 else t.expand(counts[0], -1, -1) for t in sides)
    return a, b


def batch_weights(
    weights: object, given: Tensor, clouds: Float[Tensor, "b n d"], name: str
) -> Float[Tensor, "b n"] | None:
    """Return the weights of the points of each problem, which sum to one; None stays None.

    Args:
        weights: [b, n]; or [n] where one cloud was given for all problems.
        given: The argument whose points they are.
        clouds: The same as `check_batches` returned it.
        name: The argument's name.

    >>> one = torch.zeros(2, 1)
    >>> batch_weights(torch.tensor([1.0, 3.0]), one, one.expand(3, -1, -1), "weights_x").shape
    torch.Size([3, 2])
    """
    if weights is None:
        return None
    if given.ndim == 2 and isinstance(weights, Tensor) and weights.ndim == 1:
        return check_weights(weights, given, name).expand(len(clouds), -1)
    w = check_tensor(weights, name, shape="[b, n]", ndim=2)
    if w.shape != clouds.shape[:2]:
        raise ValueError(
            f"{name} must have one entry per point of each problem, {list(clouds.shape[:2])}, got "
            f"{list(w.shape)}; repeat one row with .expand"
        )
    return torch.stack([check_weights(row, z, name) for row, z in zip(w, clouds, strict=True)])


def over_batch(
    x: Float[Tensor, "b n d"],
    y: Float[Tensor, "b m d"],
    a: Float[Tensor, "b n"] | None,
    b: Float[Tensor, "b m"] | None,
    *,
    one: Problem,
    together: Problem | None = None,
) -> Float[Tensor, " b"]:
    """Return the number of each problem: of small ones whose points all have weight together, else one by one.

    >>> gap = lambda x, y, a, b: (x.mean() - y.mean()).abs()
    >>> over_batch(torch.zeros(2, 3, 1), torch.ones(2, 4, 1), None, None, one=gap)
    tensor([1., 1.])
    """
    pairs = max(x.shape[1], y.shape[1]) ** 2
    absent = any(w is not None and bool((w <= 0).any()) for w in (a, b))
    if together is None or pairs > SMALL or absent:
        sides = [[None] * len(x) if w is None else list(w) for w in (a, b)]
        return torch.stack([one(*problem) for problem in zip(x, y, *sides, strict=True)])
    count = max(1, TOGETHER // pairs)
    clouds = x.split(count), y.split(count)
    sides = [[None] * len(clouds[0]) if w is None else list(w.split(count)) for w in (a, b)]
    return torch.cat([together(*part) for part in zip(*clouds, *sides, strict=True)])


def _side(t: object, name: str, least: int) -> Tensor:
    if isinstance(t, Tensor) and t.ndim == 3:
        cloud = check_tensor(t, name, shape="[b, n, d]", ndim=3)
        if cloud.shape[1] < least:
            raise ValueError(
                f"{name} must hold at least {least} samples in every problem, got {cloud.shape[1]}; pass more"
            )
        return cloud
    return check_cloud(t, name, least=least)
