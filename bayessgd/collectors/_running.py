"""A long mean of tensors at the cost of one addition each.

The running mean in float32, m ← m + (θ − m)/n, stops moving once |θ − m|/n is below half a unit in the last
place of m: for weights that fluctuate by 1e-3 of their size, after some 1e4 steps. The plain sum Σθ in
float32 loses a digit with every factor of ten in n. So a block of B iterates is summed in the parameters'
own type, one addition each, and the block then added to a float64 total.

With rounding errors independent and uniform in ±u/2 of the running sum (u = 2⁻²³ relative, at most), the
mean of one block is off by u·√(B/36) relative (root mean square): 2.3e-7 at B = 128. The errors of n/B blocks
average out. Each addition to the total is a wider one, but there are B times fewer.
"""

# torch's optimizers are built on the foreach functions, for which torch has no public names.
# pyright: reportPrivateImportUsage=false

import torch
from torch import Tensor

__all__ = ["RunningSum"]

BLOCK = 128


class RunningSum:
    """Σᵢ θᵢ over lists of tensors, in blocks.

    Args:
        like: Tensors of the shapes and devices; the block has their types, but at least float32.
    """

    def __init__(self, like: list[Tensor]) -> None:
        self.block = [torch.zeros_like(t, dtype=torch.promote_types(t.dtype, torch.float32)) for t in like]
        self.total = [torch.zeros_like(t, dtype=torch.float64) for t in like]
        self.count = 0

    def add(self, tensors: list[Tensor]) -> None:
        """Add one list of tensors."""
        if self.count % BLOCK == 0:
            torch._foreach_copy_(self.block, tensors)
        else:
            torch._foreach_add_(self.block, tensors)
        self.count += 1
        if self.count % BLOCK == 0:
            torch._foreach_add_(self.total, self.block)

    def mean(self) -> list[Tensor]:
        """Return (1/n) Σᵢ θᵢ in float64, one tensor each."""
        pending = self.count % BLOCK > 0
        return [
            (total + block if pending else total) / self.count
            for total, block in zip(self.total, self.block, strict=True)
        ]

    def clear(self) -> None:
        """Begin a new sum in the same memory."""
        for total in self.total:
            total.zero_()
        self.count = 0
