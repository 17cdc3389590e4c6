"""Sums: the state of a measure that is a function of totals, as any mean is.

Sums of points add up, s(A ∪ B) = s(A) + s(B), in float64 whatever the batches' type: added in another order they
differ by a few units of 1e-16 per addition.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["Sums"]


class Sums:
    """Named float64 sums.

    >>> sums = Sums({"total": torch.zeros(1, dtype=torch.float64)})
    >>> sums.absorb(Sums({"total": torch.tensor([2.0], dtype=torch.float64)}))
    >>> sums["total"]
    tensor([2.], dtype=torch.float64)
    """

    def __init__(self, sums: Mapping[str, Tensor]) -> None:
        self._sums = {name: value.to(torch.float64, copy=True) for name, value in sums.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._sums[name]

    def tensors(self) -> dict[str, Tensor]:
        """Return the sums by name."""
        return dict(self._sums)

    def restored(self, tensors: Mapping[str, Tensor]) -> "Sums":
        """Return sums of these values, of the shapes of these."""
        for name, value in tensors.items():
            if value.shape != self._sums[name].shape:
                raise ValueError(
                    f"{name} must have shape {list(self._sums[name].shape)}, got {list(value.shape)}"
                )
        return Sums(tensors)

    def absorb(self, other: "Sums") -> None:
        """Add the other's sums; a zero that was never fed lies on the CPU and moves to them."""
        for name, value in other.tensors().items():
            self._sums[name] = self._sums[name].to(value.device) + value
