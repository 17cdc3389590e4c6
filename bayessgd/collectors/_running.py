"""A long mean of tensors, at the cost of one addition each.

The running mean in float32, m ← m + (θ − m)/n, stops moving once |θ − m|/n is below half a unit in the last
place of m: for weights that fluctuate by 1e-3 of their size, after some 1e4 steps. The plain sum Σθ in
float32 loses a digit with every factor of ten in n. So a block of B = 256 iterates is averaged by the running
mean in the parameters' own type, which costs what an addition costs, and finished blocks are summed in float64.

With rounding errors independent and uniform in ±u/2 of the mean (u = 2⁻²³, relative), the mean of one block is
off by u·√(B/36) (root mean square), 3.2e-7; the errors of n/B blocks average out. In a block the mean may miss
deviations below B·u/2 = 1.5e-5, but it stays between the iterates: one that never moves is its own mean.
"""

# torch's optimizers are built on the foreach functions, for which torch has no public names.
# pyright: reportPrivateImportUsage=false

import torch
from torch import Tensor

__all__ = ["RunningMean"]

BLOCK = 256
# Numbers that fit a core's cache in both types.
PIECE = 2**16


class RunningMean:
    """(1/n) Σᵢ θᵢ over lists of tensors, in blocks.

    Args:
        like: Tensors of the shapes and devices; the block has their types, but at least float32.
    """

    def __init__(self, like: list[Tensor]) -> None:
        self._types = [torch.promote_types(t.dtype, torch.float32) for t in like]
        self.block = [
            torch.zeros(t.shape, dtype=d, device=t.device) for t, d in zip(like, self._types, strict=True)
        ]
        self.total = [torch.zeros(t.shape, dtype=torch.float64, device=t.device) for t in like]
        self.count = 0

    def add(self, tensors: list[Tensor]) -> None:
        """Take in one list of tensors."""
        if any(t.dtype != own for t, own in zip(tensors, self._types, strict=True)):
            tensors = [t.to(own) for t, own in zip(tensors, self._types, strict=True)]
        position = self.count % BLOCK
        if position == 0:
            torch._foreach_copy_(self.block, tensors)
        else:
            torch._foreach_lerp_(self.block, tensors, 1 / (position + 1))
        self.count += 1
        if position + 1 == BLOCK:
            for total, block in zip(self.total, self.block, strict=True):
                _add_wide(total, block)

    def mean(self) -> list[Tensor]:
        """Return the mean in float64, new tensors."""
        blocks, pending = divmod(self.count, BLOCK)
        if not blocks:
            return [block.to(torch.float64, copy=True) for block in self.block]
        if not pending:
            return [total / blocks for total in self.total]
        return [
            (total * BLOCK + block.double() * pending) / self.count
            for total, block in zip(self.total, self.block, strict=True)
        ]

    def clear(self) -> None:
        """Begin a new mean in the same memory."""
        for total in self.total:
            total.zero_()
        self.count = 0


def _add_wide(total: Tensor, block: Tensor) -> None:
    # On the CPU a sum of two types first writes all of one in the type of the other; in pieces that copy stays
    # in the cache, four times as fast for large tensors. Elsewhere the type is changed on the fly.
    if not total.is_cpu:
        total.add_(block)
        return
    for wide, narrow in zip(total.view(-1).split(PIECE), block.view(-1).split(PIECE), strict=True):
        wide.add_(narrow)
