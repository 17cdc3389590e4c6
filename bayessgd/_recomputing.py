"""Activation checkpointing: parts of a forward pass that run again in the backward pass, when what was lent is gone.

Their gradients would be taken at the network's own weights and be wrong in silence, so it is refused while weights are
lent. torch has two kinds. One keeps tensors by hooks, which a thread can disable. The other, reentrant, is a function
of autograd that nothing turns off: its place in `torch.utils.checkpoint` is taken as long as some thread lends, and
other threads pass through.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import checkpoint

__all__ = ["RecomputingError", "not_recomputing"]

CHECKPOINTED = (
    "model must not recompute activations (checkpointing) where weights are lent to it: its backward pass would take "
    "its own weights again; turn that off, as by gradient_checkpointing_disable(), or pass the network without it"
)


class RecomputingError(ValueError):
    """Activation checkpointing where it would give wrong gradients."""


class _Guard:
    """In the place of torch's reentrant checkpointing: it knows the threads that lend."""

    def __init__(self) -> None:
        self._lock, self._here = threading.Lock(), threading.local()
        self._lenders, self._own = 0, checkpoint.CheckpointFunction

    def apply(self, *args: Any) -> Any:
        if getattr(self._here, "depth", 0):
            raise RuntimeError(CHECKPOINTED)
        return self._own.apply(*args)

    def enter(self) -> None:
        with self._lock:
            if not self._lenders:
                self._own = checkpoint.CheckpointFunction
                checkpoint.CheckpointFunction = self  # pyright: ignore[reportAttributeAccessIssue]
            self._lenders += 1
        self._here.depth = getattr(self._here, "depth", 0) + 1

    def leave(self) -> None:
        self._here.depth -= 1
        with self._lock:
            self._lenders -= 1
            if not self._lenders:
                checkpoint.CheckpointFunction = self._own


_guard = _Guard()


@contextmanager
def not_recomputing() -> Iterator[None]:
    """Refuse activation checkpointing in this thread.

    Raises:
        RecomputingError: A pass within it checkpoints.
    """
    _guard.enter()
    try:
        with torch.autograd.graph.disable_saved_tensors_hooks(CHECKPOINTED):
            yield
    except RuntimeError as error:
        if CHECKPOINTED not in str(error):
            raise
        raise RecomputingError(CHECKPOINTED) from error
    finally:
        _guard.leave()
