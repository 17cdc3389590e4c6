"""A pass of the streaming solver in two Triton kernels: on a GPU nothing of size n·m is written at all.

The torch form (`streaming`) writes a slab q + column, turns it into a softmax and reads it again for column sums: on
a GPU that traffic with memory takes longer than the arithmetic. Here a program holds a tile of rows and walks along the
columns, tile by tile, with a running maximum and sum (Milakov & Gimelshein 2018, algorithm 3; as in FlashAttention),

    top_i = max_j z_ij,   total_i = Σ_j exp(z_ij − top_i),   z = x yᵀ + column,

and a second kernel holds a tile of columns, walks along the rows and collects c_j = Σ_i a_i exp(z_ij − top_i)/total_i.
The products are formed twice and not once; every column has one program, so that sums come in one order and a pass
returns the same bits each time. Float32 with full products (no TF32: z is an exponent).

Only where Triton is: with PyTorch's CUDA builds, or in its interpreter on a CPU, which is how it is tested.
"""

from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["fused_pass", "fuses"]

ROWS = COLUMNS = 64
"""Of a tile of z; for a product of matrices no side may be below 16."""

DEPTH = 32
"""Coordinates that a step of a product takes."""

FOUND = find_spec("triton") is not None


def fuses(x: Tensor) -> bool:
    """Whether a pass over points like these is done here."""
    return FOUND and x.is_cuda and x.dtype == torch.float32


def fused_pass(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], column: Float[Tensor, " m"], a: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """Return log Σ_j exp(z_ij) and the column sums c of the plan with rows a_i·softmax_j(z_ij), both in float64.

    Args:
        x: The first cloud, in float32.
        y: The second cloud.
        column: What is added to every row of x yᵀ.
        a: Weights of the rows.
    """
    from metrics.transport.entropic.fused_kernels import column_sums, row_maxima_and_sums

    top, total = torch.empty_like(a), torch.empty_like(a)
    sums = torch.empty(len(y), dtype=torch.float64, device=x.device)
    x, y = x.contiguous(), y.contiguous()
    sizes = (len(x), len(y), x.shape[1], ROWS, COLUMNS, DEPTH)
    _launch(row_maxima_and_sums, -(-len(x) // ROWS), x, y, column, top, total, *sizes)
    _launch(column_sums, -(-len(y) // COLUMNS), x, y, column, top, a / total, sums, *sizes)
    return top.double() + total.double().log_(), sums


def _launch(kernel: Any, programs: int, *args: Tensor | int) -> None:
    """Run so many programs of a kernel; its last arguments are constants that it is compiled for."""
    with torch.cuda.device_of(args[0]):
        kernel[(programs,)](*args)
