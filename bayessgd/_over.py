"""A function of one draw, chain or datum over all of them: together under `vmap` where that can be, else one by one.

What `vmap` cannot run (recurrent kernels, a path that depends on values, a buffer that follows the draw) a loop can. It
is said once: in one call of a public function, or in the life of one `Chains`.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree

__all__ = ["Told", "is_together", "over", "quietly", "telling", "together", "warn"]


class Told:
    """What was found and said: whether `vmap` may still be tried, and which warnings were given."""

    def __init__(self) -> None:
        self.together = True
        self.said: set[str] = set()


_told: ContextVar[Told | None] = ContextVar("told", default=None)
_together: ContextVar[bool] = ContextVar("together", default=False)


@contextmanager
def together() -> Iterator[None]:
    """Try a `vmap` in whose place something else may come: what fails within need not be at fault."""
    token = _together.set(True)
    try:
        yield
    finally:
        _together.reset(token)


def is_together() -> bool:
    """Return whether such a `vmap` is being tried."""
    return _together.get()


@contextmanager
def telling(told: Told | None = None) -> Iterator[Told]:
    """Warnings within are given once; the outermost call decides, unless one passes a memory of its own."""
    now = told or _told.get() or Told()
    token = _told.set(now)
    try:
        yield now
    finally:
        _told.reset(token)


def warn(key: str, message: str) -> None:
    """Warn once, at the line outside the library that led here."""
    told = _told.get()
    if told is not None and key in told.said:
        return
    if told is not None:
        told.said.add(key)
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def _is_ours(module: str) -> bool:
    return module.split(".")[0] in ("bayessgd", "metrics", "torch", "contextlib", "jaxtyping", "beartype")


@contextmanager
def quietly() -> Iterator[None]:
    """Keep back torch's word that it vectorises an operation by a loop, of which the user can do nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield


def over(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    in_dims: tuple[int | None, ...],
    *,
    what: str = "draws",
    randomness: str = "error",
    before: Callable[[], None] | None = None,
    alone: Callable[..., Any] | None = None,
) -> Any:
    """Return `function` of every slice along the first dimension, its tensors stacked.

    Args:
        function: From slices to a tensor, or to a tree of them.
        arguments: Trees of tensors.
        in_dims: For each argument 0, where it has the dimension, or None.
        what: What the slices are, for the warning.
        randomness: As in `vmap`.
        before: Called before each run of the function.
        alone: The same function as a loop calls it, where another form of it does more.

    Warns:
        UserWarning: Once, that it loops.
    """
    told = _told.get() or Told()
    before = before or (lambda: None)
    led = [a for a, d in zip(arguments, in_dims, strict=True) if d == 0]
    count = next(len(t) for t in pytree.tree_leaves(led) if isinstance(t, Tensor))
    reason = None
    if told.together and count > 1:
        try:
            before()
            with quietly(), together():
                return vmap(function, in_dims, randomness=randomness)(*arguments)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    results = []
    for i in range(count):
        before()
        results.append(
            (alone or function)(
                *(_slice(a, i) if d == 0 else a for a, d in zip(arguments, in_dims, strict=True))
            )
        )
    if reason is not None:
        # Only now: had the network itself been at fault, the loop would have said so better.
        told.together = False
        warn("loop", f"the {what} run one by one, for vmap cannot run this model: {reason}")
    return cast(Any, pytree.tree_map(lambda *t: torch.stack(t), results[0], *results[1:]))


def _slice(tree: Any, i: int) -> Any:
    return pytree.tree_map(lambda t: t[i] if isinstance(t, Tensor) else t, tree)
