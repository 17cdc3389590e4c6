"""An accumulator as a `torchmetrics.Metric`, which Lightning's `self.log` and torchmetrics' collections take.

The accumulator stays what computes: batches go to its `update`, and `compute` merges the ranks as it always does,
exactly and in float64 sums. So torchmetrics' own synchronisation, which averages or concatenates states, is switched
off. This file needs torchmetrics and is imported by `Accumulator.as_torchmetric` alone.
"""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["TorchMetric"]


class TorchMetric(Metric):
    """A metric around an accumulator; made by `Accumulator.as_torchmetric`."""

    full_state_update = False
    is_differentiable = False

    def __init__(self, accumulator: Any, *, higher_is_better: bool | None) -> None:
        super().__init__(sync_on_compute=False, dist_sync_on_step=False)
        self.accumulator = accumulator
        # A constant of its class to torchmetrics, which lets nobody assign it.
        object.__setattr__(self, "higher_is_better", higher_is_better)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take in a batch, by the accumulator's own arguments."""
        self.accumulator.update(*args, **kwargs)

    def compute(self) -> Tensor | dict[str, Tensor]:
        """Return the measure of everything fed so far, over all ranks."""
        return _told(self.accumulator.compute())

    def forward(self, *args: Any, **kwargs: Any) -> Tensor | dict[str, Tensor]:
        """Take in a batch and return the measure of this batch alone, on this rank."""
        batch = copy.copy(self.accumulator).reset()
        batch.update(*args, **kwargs)
        self.update(*args, **kwargs)
        return _told(batch.compute(across_ranks=False))

    def reset(self) -> None:
        """Forget everything fed so far."""
        super().reset()
        self.accumulator.reset()

    def get_extra_state(self) -> dict[str, Tensor]:
        """The accumulator's state, as part of the metric's `state_dict`."""
        return self.accumulator.state_dict()

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Go on from a state."""
        self.accumulator.load_state_dict(state)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> torch.nn.Module:
        """Follow the module that holds the metric to another device; what was fed keeps its type."""
        self.accumulator.to(fn(torch.zeros((), device=self.accumulator.device)).device)
        return super()._apply(fn, exclude_state)


def _told(value: Any) -> Tensor | dict[str, Tensor]:
    """What `self.log` and `self.log_dict` take."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value
