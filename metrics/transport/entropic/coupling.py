"""A plan that is never stored: rows from the potentials of the columns, in slabs.

    P_ij = a_i softmax_j(s_ij + g_j + log b_j),

which is a_i b_j exp(f_i + g_j + s_ij) for the f of an exact update of the rows, as every solution ends with. The kernel
is that of the standard problem, of centred clouds: its digits do not depend on where the clouds lie. Potentials in the
units of the cost do, and a plan made of them in float32 is worthless far from the origin.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.transport.entropic.kernels import LogKernel

__all__ = ["Coupling"]

SLAB = 2**21
"""Numbers in a slab: 16 MiB in float64."""


@dataclass(frozen=True)
class Coupling:
    """The plan of a solution.

    Attributes:
        kernel: The log-kernel s of all points, in float64.
        column: g + log b in units of ε, in float64; −∞ for a column without weight.
        a: Weights of the rows, summing to one, in float64.
    """

    kernel: LogKernel
    column: Float[Tensor, " m"]
    a: Float[Tensor, " n"]

    def rows(self) -> Iterator[tuple[slice, Float[Tensor, "r m"]]]:
        """Yield rows of the plan over their weights, each a distribution, in a buffer that is used again."""
        n, m = len(self.a), len(self.column)
        height = max(1, SLAB // m)
        column = self.column - self.kernel.beta
        buffer = column.new_empty(min(height, n), m)
        for low in range(0, n, height):
            rows = slice(low, min(low + height, n))
            k = self.kernel.fill(column, buffer[: rows.stop - low], rows)
            yield rows, torch.softmax(k, 1, out=k)

    def plan(self) -> Float[Tensor, "n m"]:
        """P itself."""
        plan = self.a.new_empty(len(self.a), len(self.column))
        for rows, k in self.rows():
            torch.mul(k, self.a[rows, None], out=plan[rows])
        return plan

    def average(self, values: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Return Σ_j P_ij v_j/a_i."""
        return torch.cat([k @ values for _, k in self.rows()])

    def apply(self, values: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Return P v."""
        return self.average(values).mul_(self.a[:, None])

    def apply_transposed(self, values: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """Return Pᵀ v."""
        total = values.new_zeros(len(self.column), values.shape[1])
        for rows, k in self.rows():
            total.addmm_(k.T, self.a[rows, None] * values[rows])
        return total
